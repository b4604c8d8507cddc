"""Who is calling? Keys as they are made, kept and recognised."""

import secrets
import string
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

import orjson
from multidict import MultiMapping

from proxy.ledger.keys import KeyRow
from rules.budget import Budget, BudgetSpec, budgets_for_key, in_timezone
from rules.override import Override, raised

PREFIX = "sk-sg"
HEADERS = ("Authorization", "x-api-key", "api-key", "x-goog-api-key")
_BASE62 = string.digits + string.ascii_letters
_ID_LETTERS = "bcdfghjkmnpqrstvwxz"  # no vowels: never a word, never a number to a spreadsheet
_ID_CHARS = 8
_SECRET_CHARS = 27  # of 62 letters: 160 bits
_CHECK_CHARS = 6  # 62^6 is more than a CRC-32 can be
_KEY_CHARS_MAX = len(f"{PREFIX}-admin-") + _ID_CHARS + 1 + _SECRET_CHARS + _CHECK_CHARS


class Kind(StrEnum):
    LIVE = "live"  # a call key: opens the data plane for its team
    TEST = "test"  # a call key that reaches the sample provider only
    ADMIN = "admin"  # a control key: opens the admin API, and nothing else


class Role(StrEnum):
    """What a control key may do. Every role reads; only `admin` changes anything."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ENGINEER = "engineer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Key:
    """An issued key, without the secret. Team is empty for control keys, role for call keys."""

    id: str
    team: str
    kind: Kind
    name: str
    role: str
    budgets: tuple[Budget, ...]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class BadReason(StrEnum):
    MISSING = "missing"
    MALFORMED = "malformed"  # not a key of ours, mistyped, or two different ones at once
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    WRONG_KIND = "wrong_kind"  # a control key at the data plane, or a call key at the admin API
    TEST_REFUSED = "test_refused"


class BadKey(Exception):
    """For the log alone: outward every reason is one and the same 401. `key_id` only of keys that we know."""

    def __init__(self, reason: BadReason, key_id: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.key_id = key_id


class Keyring:
    """Every issued key in memory, by digest. A change counts from the next call on."""

    def __init__(self, rows: Iterable[KeyRow], *, timezone: str, allow_test_keys: bool = True) -> None:
        """`timezone` is that of the windows of budgets which keys were issued with."""
        self._timezone = timezone
        self._allow_test_keys = allow_test_keys
        self._overrides: tuple[Override, ...] = ()
        self._issued: dict[str, Key] = {}
        self._keys: dict[str, Key] = {}  # the same under overrides
        self._digests: dict[str, str] = {}  # by a key's id
        for row in rows:
            self.put(row)

    def put(self, row: KeyRow) -> None:
        """A new key, or the new state of one: revoked, for instance."""
        key = key_of(row, timezone=self._timezone)
        self._issued[row.digest] = key
        self._keys[row.digest] = self._under_overrides(key)
        self._digests[key.id] = row.digest

    def use_timezone(self, timezone: str) -> None:
        """The windows of every key's own budgets are those of this time zone from now on."""
        if timezone != self._timezone:
            self._timezone = timezone
            self._issued = {
                digest: replace(key, budgets=in_timezone(key.budgets, timezone))
                for digest, key in self._issued.items()
            }
            self._enforce()

    def use_overrides(self, overrides: Sequence[Override]) -> set[Budget]:
        """From the next call on. Gives the budgets that keys have now and had not before."""
        before = set(self.budgets)
        self._overrides = tuple(overrides)
        self._enforce()
        return set(self.budgets) - before

    def present(self, key: Key) -> Key:
        """The same key as it is now."""
        return self._keys.get(self._digests.get(key.id, ""), key)

    @property
    def budgets(self) -> list[Budget]:
        return [budget for key in self._keys.values() for budget in key.budgets]

    def issued_budgets(self, now: datetime) -> list[Budget]:
        """Of every key that opens something, without what overrides make of them."""
        return [
            budget
            for key in self._issued.values()
            if key.revoked_at is None and (key.expires_at is None or now < key.expires_at)
            for budget in key.budgets
        ]

    def _enforce(self) -> None:
        self._keys = {digest: self._under_overrides(key) for digest, key in self._issued.items()}

    def _under_overrides(self, key: Key) -> Key:
        if not (self._overrides and key.budgets):
            return key
        return replace(key, budgets=tuple(raised(budget, self._overrides) for budget in key.budgets))

    def authenticate(self, headers: MultiMapping[str], now: datetime) -> Key:
        """The call key of a request to the data plane. Raises BadKey."""
        key = self._recognise(headers, now)
        if key.kind is Kind.ADMIN:
            raise BadKey(BadReason.WRONG_KIND, key.id)
        if key.kind is Kind.TEST and not self._allow_test_keys:
            raise BadKey(BadReason.TEST_REFUSED, key.id)
        return key

    def authenticate_control(self, headers: MultiMapping[str], now: datetime) -> Key:
        """The control key of a request to the admin API. Raises BadKey."""
        key = self._recognise(headers, now)
        if key.kind is not Kind.ADMIN:
            raise BadKey(BadReason.WRONG_KIND, key.id)
        return key

    def _recognise(self, headers: MultiMapping[str], now: datetime) -> Key:
        """The same work for every well-formed key. What is compared is a digest: the time that takes tells nothing of a
        secret, since nobody can steer where two digests begin to differ."""
        plain = credential(headers)
        if not is_well_formed(plain):
            raise BadKey(BadReason.MALFORMED)
        key = self._keys.get(digest_of(plain))
        if key is None:
            raise BadKey(BadReason.UNKNOWN)
        if key.revoked_at is not None:
            raise BadKey(BadReason.REVOKED, key.id)
        if key.expires_at is not None and key.expires_at <= now:
            raise BadKey(BadReason.EXPIRED, key.id)
        return key


def credential(headers: MultiMapping[str]) -> str:
    """The one credential of a request, whichever header carries it. Raises BadKey for none, and for several that differ:
    which of them counts must never depend on who reads the request."""
    found = {
        _bare(value) if name == "Authorization" else value.strip()
        for name in HEADERS
        for value in headers.getall(name, ())
    } - {""}
    if not found:
        raise BadKey(BadReason.MISSING)
    if len(found) > 1:
        raise BadKey(BadReason.MALFORMED)
    return found.pop()


def _bare(authorization: str) -> str:
    """What follows `Bearer`. Another scheme is kept whole, and is then no key of ours."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else authorization


def mint(
    kind: Kind,
    *,
    now: datetime,
    team: str = "",
    name: str = "",
    role: str = "",
    budgets: tuple[BudgetSpec, ...] = (),
    expires_at: datetime | None = None,
) -> tuple[str, KeyRow]:
    """A new key: its plain text, to be shown once and kept nowhere, and its row."""
    key_id = _chosen(_ID_LETTERS, _ID_CHARS)
    body = f"{PREFIX}-{kind.value}-{key_id}-{_chosen(_BASE62, _SECRET_CHARS)}"
    plain = body + _check(body)
    specs = orjson.dumps([spec.model_dump(mode="json", exclude_unset=True) for spec in budgets]).decode()
    return plain, KeyRow(key_id, digest_of(plain), team, kind.value, role, name, specs, now, expires_at)


def key_of(row: KeyRow, *, timezone: str) -> Key:
    return Key(
        row.key_id,
        row.team,
        Kind(row.kind),
        row.name,
        row.role,
        budgets_for_key(row.key_id, specs_of(row), timezone=timezone),
        row.created_at,
        row.expires_at,
        row.revoked_at,
    )


def specs_of(row: KeyRow) -> tuple[BudgetSpec, ...]:
    """The budgets that a key was issued with, as they were written."""
    return tuple(BudgetSpec.model_validate(spec) for spec in orjson.loads(row.budgets))


def is_well_formed(plain: str) -> bool:
    """Could this be a key of ours, mistypings left out? Asked before anything is looked up."""
    if not plain.startswith(f"{PREFIX}-") or len(plain) > _KEY_CHARS_MAX or not plain.isascii():
        return False
    return plain[-_CHECK_CHARS:] == _check(plain[:-_CHECK_CHARS])


def digest_of(plain: str) -> str:
    """What is kept of a key. Its 160 random bits need no slow hash."""
    return sha256(plain.encode()).hexdigest()


def _check(body: str) -> str:
    rest = zlib.crc32(body.encode())
    check = ""
    for _ in range(_CHECK_CHARS):
        rest, digit = divmod(rest, len(_BASE62))
        check += _BASE62[digit]
    return check


def _chosen(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))
