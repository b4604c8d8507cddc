"""Calls that say the same again and again, for `repeat_calls`: known by a keyed hash, so that no text is kept."""

import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import blake2b

from proxy.dialects import Reading
from proxy.dialects.likeness import likeness
from rules.minutes import minute_of
from rules.repeats import Sightings
from rules.scope import Scope

RETRY_COUNT_HEADER = "x-stainless-retry-count"  # 0 at the first attempt, in every SDK made by that generator
IDEMPOTENCY_HEADER = "Idempotency-Key"
IDEMPOTENCY_KEYS_MAX = 10_000
_HASH_BYTES = 16


class Repeats:
    """In memory, bounded. The key of the hash is random and lives as long as the process: who sees a hash learns nothing
    of the call, not even by trying texts."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._seen = Sightings()
        self._idempotency_keys: OrderedDict[bytes, None] = OrderedDict()

    def likeness(self, reading: Reading) -> bytes | None:
        """The same for calls that are alike: of this model, with these last messages and tool calls. None for calls that
        are no part of a conversation. Takes some microseconds: only where a rule asks."""
        told = likeness(reading)
        return None if told is None else self._hash(told)

    def note(
        self, call: bytes, scopes: Iterable[Scope], now: datetime, *, key_id: str, headers: Mapping[str, str]
    ) -> None:
        """Once a call, before anybody asks how often it came. `call`: its likeness. An SDK that tries again is not a loop:
        its further attempts do not count."""
        if self._is_retry(call, key_id, headers):
            return
        minute = minute_of(now)
        for scope in scopes:
            self._seen.note((scope, call), minute)

    def repeats(self, scope: Scope, call: bytes, minutes: int, now: datetime) -> int:
        """How often the same call came in the last minutes, itself counted."""
        return max(1, self._seen.count((scope, call), minutes, minute_of(now)))

    def _is_retry(self, call: bytes, key_id: str, headers: Mapping[str, str]) -> bool:
        attempt = headers.get(RETRY_COUNT_HEADER, "")
        if attempt.isascii() and attempt.isdigit() and attempt.strip("0"):
            return True
        given = headers.get(IDEMPOTENCY_HEADER)
        if not given:
            return False
        known = self._hash(f"{key_id}\0{given}".encode("utf-8", "surrogatepass"), call)
        if known in self._idempotency_keys:
            return True
        self._idempotency_keys[known] = None
        if len(self._idempotency_keys) > IDEMPOTENCY_KEYS_MAX:
            self._idempotency_keys.popitem(last=False)
        return False

    def _hash(self, *texts: bytes) -> bytes:
        made = blake2b(key=self._key, digest_size=_HASH_BYTES)
        for text in texts:
            made.update(text)
        return made.digest()
