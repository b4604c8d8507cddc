"""What a call key may ask about its own calls, on the callers' listener: the cost of a stream, by its call id."""

from dataclasses import dataclass

import orjson
from aiohttp import web

from proxy.auth import Key
from proxy.errors import BadCall
from proxy.ledger import Ledger, calls
from proxy.ledger.ship import Shipper
from proxy.server import Reply, reply

PREFIX = "/_spendgate/"
CALLS = "/_spendgate/v1/calls/"
FLUSH_SECONDS = 2.0  # a call that has just ended may not be in the ledger yet


@dataclass(frozen=True, slots=True)
class About:
    ledger: Ledger
    shipper: Shipper

    async def answer(self, request: web.BaseRequest, key: Key, request_id: str) -> Reply:
        """Raises BadCall where there is no such page, and, in the same words, where the call is another key's."""
        path = request.raw_path.partition("?")[0]
        if request.method not in ("GET", "HEAD") or not path.startswith(CALLS):
            raise BadCall(404, "unknown_path", f"ask GET {CALLS}<call id>")
        await self.shipper.flush(FLUSH_SECONDS)
        async with self.ledger.connect() as connection:
            found = await calls.by_id(connection, path.removeprefix(CALLS))
        if found is None or found["key_id"] != key.id:
            raise BadCall(404, "unknown_call", "this key made no such call, or it has not ended yet")
        headers = [
            ("Content-Type", "application/json"),
            ("Cache-Control", "no-store"),
            ("X-Request-ID", request_id),
        ]
        return reply(request, 200, None, headers, orjson.dumps(found))
