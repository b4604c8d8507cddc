"""Records are written as JSON and read back the same, whatever is in them."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.charge import Basis, Charge
from pricing.money import Nanos
from pricing.usage import Usage
from proxy.callrow import CallRow
from proxy.records import Opened, Record, Refused, Settled, from_dict, instant, micros, opened_id, to_dict
from rules.alert import Alert, Level
from rules.counter import CounterKey, Hold
from rules.scope import Scope, ScopeKind
from rules.window import Period
from tests.support.records import NOON, opened, refused, settled

# JSON is UTF-8: half a surrogate pair cannot be written, and never comes out of a decoded request.
texts = st.text(st.characters(codec="utf-8"), max_size=20)
whole = st.integers(0, 2**53)
money = whole.map(Nanos)
instants = st.integers(0, 7 * 10**15).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)
values: dict[object, st.SearchStrategy[object]] = {
    str: texts,
    int: whole,
    float: st.floats(0, 1),
    bool: st.booleans(),
    datetime: instants,
    dict[str, str]: st.dictionaries(texts, texts, max_size=3),
    list[str]: st.lists(texts, max_size=3),
}
limits = st.lists(st.fixed_dictionaries({"counter": texts, "limit": st.none() | whole}), max_size=2)
rows = st.builds(CallRow, **{field.name: values.get(field.type, limits) for field in fields(CallRow)})
usages = st.builds(Usage, **{field.name: whole for field in fields(Usage)})
charges = st.builds(
    Charge, money, st.sampled_from(Basis), usages, texts, st.lists(texts, max_size=2).map(tuple), texts
)
scopes = st.builds(Scope, st.sampled_from(ScopeKind), texts)
counters = st.builds(
    CounterKey, scopes, st.sampled_from(Period), st.sampled_from(["UTC", "Asia/Tokyo"]), whole
)
holds = st.builds(Hold, texts, instants, st.lists(st.tuples(counters, money), max_size=3).map(tuple))
alerts = st.lists(
    st.builds(
        Alert,
        texts,
        texts,
        st.sampled_from(Level),
        instants,
        scopes,
        texts,
        st.dictionaries(texts, texts, max_size=2),
    ),
    max_size=2,
).map(tuple)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(Opened, rows, holds, charges),
    st.builds(Settled, rows, st.none() | charges, alerts),
    st.builds(Refused, rows, alerts),
)


def written(record: Record) -> bytes:
    return orjson.dumps(to_dict(record))


@given(records)
def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    assert from_dict(orjson.loads(written(record))) == record


@given(records)
def test_a_look_at_the_first_bytes_never_names_another_call(record: Record) -> None:
    """Where the id is unusual it names none, and the whole record is read."""
    seen = opened_id(written(record))

    assert seen is None or (isinstance(record, Opened) and seen == record.row.call_id)


def test_the_first_bytes_of_an_open_record_name_its_call() -> None:
    call_id = f"call-{7:012x}{'0a' * 10}"

    assert opened_id(written(opened(call_id))) == call_id
    assert opened_id(written(settled(call_id))) is None
    assert opened_id(written(refused(call_id))) is None


@given(instants)
def test_instants_keep_every_microsecond(at: datetime) -> None:
    assert instant(micros(at)) == at


def test_microseconds_are_counted_from_1970() -> None:
    assert micros(datetime(1970, 1, 1, 0, 0, 1, 5, UTC)) == 1_000_005
    assert instant(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)


def test_a_record_of_a_version_with_fewer_fields_is_read_with_defaults() -> None:
    data = to_dict(settled("c1"))
    del data["row"]["shadow_ids"], data["row"]["batch_size"]

    row = from_dict(data).row

    assert (row.call_id, row.at, row.shadow_ids, row.batch_size) == ("c1", NOON, [], 1)


def test_fields_of_a_later_version_are_left_aside() -> None:
    data = to_dict(settled("c1"))
    data["row"]["from_the_future"] = 1

    assert from_dict(data) == settled("c1")


@pytest.mark.parametrize("missing", ["row", "t", "charge", "alerts"])
def test_what_was_never_written_is_an_error_that_the_journal_knows(missing: str) -> None:
    data = to_dict(settled("c1"))
    del data[missing]

    with pytest.raises((KeyError, TypeError, ValueError)):
        from_dict(data)


def test_a_kind_that_nobody_writes_is_an_error() -> None:
    with pytest.raises(ValueError, match="a record of kind 'stolen'"):
        from_dict({**to_dict(refused("c1")), "t": "stolen"})
