"""What the admin listener stands on, and how its changes are signed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from pricing.overrides import OverriddenBook
from proxy.admin.estimates import Desk
from proxy.auth import Keyring
from proxy.breakers import Breakers
from proxy.ledger import Ledger, audit
from proxy.ledger.ship import Shipper
from proxy.live_prices import LivePrices
from proxy.overrides import BudgetOverrides
from proxy.passage import Guards
from proxy.reload import Reloads
from proxy.shutdown import Switch
from rules.policy import Policy

HEALTHY = "healthy"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who changes something, and the node's key that seals the entry about it."""

    node: str
    secret: bytes
    actor: str

    async def sign(
        self, connection: AsyncConnection, event: str, at: datetime, facts: Mapping[str, str]
    ) -> None:
        """In the transaction of the change itself: neither is there without the other."""
        await audit.append(
            connection, self.secret, node=self.node, at=at, event=event, actor=self.actor, facts=dict(facts)
        )


@dataclass(frozen=True, slots=True)
class AdminState:
    """The parts of a running server that the admin pages ask; made once by the composition root."""

    ledger: Ledger
    keyring: Keyring
    shipper: Shipper
    policy: Callable[[], Policy]
    desk: Desk
    live_prices: LivePrices
    price_provider: Callable[[str], str]  # whose prices a provider of the configuration has
    components: Callable[[], Mapping[str, str]]  # each part by name: "healthy", or what is wrong with it
    node: str
    audit_secret: bytes
    control_token: str
    admin_host: str  # that the admin listener is bound to
    version: str
    started: float  # monotonic seconds
    reloads: Reloads
    breakers: Breakers
    switch: Switch
    overrides: BudgetOverrides
    guards: Guards
    details: Callable[[], Mapping[str, Any]] = dict  # on /ready, for people: they make nothing unfit

    @property
    def prices(self) -> OverriddenBook:
        return self.live_prices.present

    def signer(self, actor: str) -> Signer:
        return Signer(self.node, self.audit_secret, actor)
