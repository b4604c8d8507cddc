"""Calls that repeat: counted per scope in a window, an SDK's own attempts left out, no text kept."""

import json
import pickle
from datetime import datetime

import pytest
from multidict import CIMultiDict

from proxy import repeats
from proxy.dialects import Reading, openai
from proxy.repeats import Repeats
from rules.repeats import MINUTES_MAX, Sightings
from rules.scope import EVERYONE
from tests.support.records import NOON, SEARCH, minutes


def reading(text: str = "hello") -> Reading:
    api = openai.DIALECT.surface("POST", "/v1/chat/completions").api
    assert api is not None
    return api.read(json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}).encode())


def likeness(some: Repeats, text: str = "hello") -> bytes:
    found = some.likeness(reading(text))
    assert found is not None
    return found


def note(some: Repeats, call: bytes, now: datetime = NOON, *, key_id: str = "k1", **headers: str) -> None:
    written = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    some.note(call, (SEARCH,), now, key_id=key_id, headers=written)


def test_a_call_repeats_as_often_as_it_came_in_the_window_itself_counted() -> None:
    some = Repeats()
    call = likeness(some)
    for n in (0, 3, 5):
        note(some, call, NOON + minutes(n))

    assert [some.repeats(SEARCH, call, n, NOON + minutes(5)) for n in (1, 3, 5, 6)] == [1, 2, 2, 3]
    assert some.repeats(SEARCH, call, 10, NOON + minutes(30)) == 1


def test_a_call_repeats_within_its_scope_alone() -> None:
    some = Repeats()
    call = likeness(some)
    note(some, call)
    note(some, call)
    some.note(call, (EVERYONE,), NOON, key_id="k2", headers={})

    assert some.repeats(SEARCH, call, 10, NOON) == 2
    assert some.repeats(EVERYONE, call, 10, NOON) == 1


def test_other_calls_do_not_count_as_repeats() -> None:
    some = Repeats()
    for n in range(50):
        note(some, likeness(some, f"question {n}"))

    assert some.repeats(SEARCH, likeness(some, "question 7"), 10, NOON) == 1


def test_asking_how_often_a_call_repeats_does_not_count_it() -> None:
    some = Repeats()
    call = likeness(some)
    note(some, call)

    assert [some.repeats(SEARCH, call, 10, NOON) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("count", ["1", "2", "10"])
def test_an_sdk_that_tries_again_repeats_nothing(count: str) -> None:
    some = Repeats()
    call = likeness(some)
    note(some, call, x_stainless_retry_count="0")
    note(some, call, X_Stainless_Retry_Count=count)

    assert some.repeats(SEARCH, call, 10, NOON) == 1


@pytest.mark.parametrize("count", ["", "0", "00", "-1", "x", "\u0661"])
def test_a_retry_count_that_tells_of_no_retry_hides_no_repeat(count: str) -> None:
    some = Repeats()
    call = likeness(some)
    note(some, call, x_stainless_retry_count=count)
    note(some, call, x_stainless_retry_count=count)

    assert some.repeats(SEARCH, call, 10, NOON) == 2


def test_the_same_idempotency_key_repeats_nothing() -> None:
    some = Repeats()
    call = likeness(some)
    note(some, call, idempotency_key="i1")
    note(some, call, Idempotency_Key="i1")
    note(some, call, idempotency_key="i2")

    assert some.repeats(SEARCH, call, 10, NOON) == 2


def test_an_idempotency_key_of_another_call_or_caller_hides_no_repeat() -> None:
    some = Repeats()
    call, other = likeness(some), likeness(some, "other")
    for each in (call, other):
        note(some, each, idempotency_key="always")
    note(some, call, key_id="k2", idempotency_key="always")

    assert some.repeats(SEARCH, call, 10, NOON) == 2
    assert some.repeats(SEARCH, other, 10, NOON) == 1


def test_the_memory_of_idempotency_keys_is_bounded_for_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "IDEMPOTENCY_KEYS_MAX", 3)
    some = Repeats()
    for n in range(10):
        note(some, likeness(some), idempotency_key=f"i{n}")

    assert len(some._idempotency_keys) == 3


def test_repeats_are_known_by_a_hash_that_no_other_process_would_make() -> None:
    some, other = Repeats(), Repeats()
    secret = "my secret prompt"
    call = likeness(some, secret)
    note(some, call, idempotency_key="secret key")

    assert len(call) == 16
    assert call != likeness(other, secret)
    kept = pickle.dumps((list(some._seen._once), list(some._idempotency_keys)))
    assert b"secret" not in kept


def test_a_call_that_is_no_conversation_has_nothing_to_repeat() -> None:
    api = openai.DIALECT.surface("POST", "/v1/embeddings").api
    assert api is not None

    assert Repeats().likeness(api.read(b'{"model": "m", "input": "x"}')) is None


# -- sightings ----------------------------------------------------------------------------------------------------


def test_what_repeats_is_not_pushed_out_by_any_number_of_new_things() -> None:
    some = Sightings(once_max=3, again_max=2)
    some.note("loop", 100)
    some.note("loop", 100)
    for n in range(1_000):
        some.note(n, 100)
    some.note("loop", 101)

    assert some.count("loop", 10, 101) == 3
    assert (len(some._once), len(some._again)) == (3, 1)


def test_the_memory_of_repeats_is_bounded() -> None:
    some = Sightings(once_max=3, again_max=2)
    for name in "abcde":
        some.note(name, 100)
        some.note(name, 100)

    assert [some.count(name, 10, 100) for name in "abcde"] == [0, 0, 0, 2, 2]


def test_no_window_of_repeats_is_longer_than_an_hour() -> None:
    some = Sightings()
    some.note("x", 100)
    assert some.count("x", 10_000, 100 + MINUTES_MAX) == 0

    some.note("x", 100 + MINUTES_MAX)

    assert some.count("x", 10_000, 100 + MINUTES_MAX) == 1
