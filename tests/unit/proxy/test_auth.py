"""Who opens which door with what, and what never does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pricing.money import nanos
from proxy.auth import BadKey, BadReason, Key, Keyring, Kind, digest_of, is_well_formed, mint
from proxy.ledger.keys import KeyRow
from rules.budget import BudgetSpec
from rules.counter import HoldMode
from rules.scope import Scope, ScopeKind
from rules.window import Period

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
PLAIN, ROW = mint(Kind.LIVE, now=NOON, team="search", name="laptop")
OTHER, OTHER_ROW = mint(Kind.LIVE, now=NOON, team="search")


def ring(*rows: KeyRow, allow_test_keys: bool = True) -> Keyring:
    return Keyring(rows, timezone="Europe/Berlin", allow_test_keys=allow_test_keys)


def bearer(plain: str) -> CIMultiDict[str]:
    return CIMultiDict({"Authorization": f"Bearer {plain}"})


def reason(keyring: Keyring, headers: CIMultiDict[str], now: datetime = NOON) -> BadReason:
    with pytest.raises(BadKey) as bad:
        keyring.authenticate(headers, now)
    return bad.value.reason


# -- keys as they are made ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Kind))
def test_a_key_names_its_kind_and_its_id_and_carries_its_own_check(kind: Kind) -> None:
    plain, row = mint(kind, now=NOON)

    prefix, brand, named, key_id, secret = plain.split("-")
    assert (prefix, brand, named, key_id) == ("sk", "sg", kind.value, row.key_id)
    assert len(secret) == 27 + 6
    assert is_well_formed(plain)


def test_what_is_kept_of_a_key_does_not_hold_its_secret() -> None:
    secret = PLAIN.split("-")[4]

    assert secret not in repr(ROW)
    assert ROW.digest == digest_of(PLAIN)


def test_no_two_keys_are_alike() -> None:
    made = [mint(Kind.LIVE, now=NOON) for _ in range(1000)]

    assert len({plain for plain, _ in made}) == len({row.key_id for _, row in made}) == 1000


def test_budgets_of_a_key_come_back_as_they_were_given() -> None:
    spec = BudgetSpec(period=Period.TOTAL, limit_usd=Decimal("0.000001"), hold=HoldMode.STRICT)
    plain, row = mint(Kind.LIVE, now=NOON, team="search", budgets=(spec,))

    (budget,) = ring(row).authenticate(bearer(plain), NOON).budgets
    assert budget.scope == Scope(ScopeKind.KEY, row.key_id)
    assert (budget.limit, budget.hold, budget.period) == (nanos("0.000001"), HoldMode.STRICT, Period.TOTAL)
    assert budget.timezone == "Europe/Berlin"


# -- keys as they are recognised ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {PLAIN}"},
        {"authorization": f"bearer  {PLAIN} "},
        {"x-api-key": PLAIN},
        {"Api-Key": PLAIN},
        {"X-Goog-Api-Key": PLAIN},
        {"Authorization": f"Bearer {PLAIN}", "x-api-key": PLAIN},
        {"Authorization": "Bearer ", "x-api-key": PLAIN},
        {"Authorization": PLAIN},
    ],
)
def test_a_key_is_recognised_in_every_usual_header(headers: dict[str, str]) -> None:
    key = ring(ROW).authenticate(CIMultiDict(headers), NOON)

    assert key == Key(ROW.key_id, "search", Kind.LIVE, "laptop", "", (), NOON)


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"Bearer {PLAIN}"), ("x-api-key", OTHER)],
        [("x-api-key", PLAIN), ("x-api-key", OTHER)],
        [("Authorization", "Basic dXNlcjpwYXNz"), ("x-api-key", PLAIN)],
        [("Authorization", "Basic dXNlcjpwYXNz")],
        [("x-api-key", "sk-proj-of-another-provider")],
        [("x-api-key", PLAIN + "x" * 100_000)],
        [("x-api-key", "sk-sg-live-\udcff")],
    ],
)
def test_other_schemes_and_two_credentials_at_once_are_malformed(headers: list[tuple[str, str]]) -> None:
    assert reason(ring(ROW, OTHER_ROW), CIMultiDict(headers)) is BadReason.MALFORMED


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"x-api-key": " "}]
)
def test_no_credential_is_missing(headers: dict[str, str]) -> None:
    assert reason(ring(ROW), CIMultiDict(headers)) is BadReason.MISSING


def test_the_checksum_is_asked_before_anything_is_looked_up() -> None:
    """A mistyped key is malformed even where its digest is known: nobody looked."""
    mistyped = PLAIN[:-1] + ("a" if PLAIN[-1] != "a" else "b")
    known = KeyRow(ROW.key_id, digest_of(mistyped), "search", "live", "", "", "[]", NOON)

    assert reason(ring(known), bearer(mistyped)) is BadReason.MALFORMED


@given(place=st.integers(0, len(PLAIN) - 1), letter=st.characters())
def test_a_key_with_one_letter_changed_is_never_recognised(place: int, letter: str) -> None:
    mutated = PLAIN[:place] + letter + PLAIN[place + 1 :]

    if mutated != PLAIN:
        with pytest.raises(BadKey):
            ring(ROW).authenticate(CIMultiDict({"x-api-key": mutated}), NOON)


@given(st.text() | st.text(alphabet="sk-glive0aB", max_size=60).map("sk-sg-live-".__add__))
def test_no_text_but_the_key_itself_is_recognised(text: str) -> None:
    with pytest.raises(BadKey):
        ring(ROW).authenticate(CIMultiDict({"x-api-key": text}), NOON)


# -- keys that no longer open ---------------------------------------------------------------------------------------


def test_unknown_revoked_and_expired_keys_are_told_apart_for_the_log() -> None:
    revoked = ring(replace(ROW, revoked_at=NOON))
    expired = ring(replace(ROW, expires_at=NOON))

    assert reason(ring(), bearer(PLAIN)) is BadReason.UNKNOWN
    assert reason(revoked, bearer(PLAIN)) is BadReason.REVOKED
    assert reason(expired, bearer(PLAIN)) is BadReason.EXPIRED


def test_a_key_is_good_until_the_instant_it_expires() -> None:
    keyring = ring(replace(ROW, expires_at=NOON))

    assert keyring.authenticate(bearer(PLAIN), NOON - timedelta(microseconds=1)).id == ROW.key_id
    assert reason(keyring, bearer(PLAIN), NOON) is BadReason.EXPIRED


def test_new_and_revoked_keys_count_from_the_next_call_on() -> None:
    keyring = ring()
    keyring.put(ROW)
    assert keyring.authenticate(bearer(PLAIN), NOON).team == "search"

    keyring.put(replace(ROW, revoked_at=NOON))

    assert reason(keyring, bearer(PLAIN)) is BadReason.REVOKED


def test_only_keys_that_we_know_are_named_in_the_log() -> None:
    with pytest.raises(BadKey) as unknown:
        ring().authenticate(bearer(PLAIN), NOON)
    with pytest.raises(BadKey) as revoked:
        ring(replace(ROW, revoked_at=NOON)).authenticate(bearer(PLAIN), NOON)

    assert (unknown.value.key_id, revoked.value.key_id) == ("", ROW.key_id)


# -- doors ----------------------------------------------------------------------------------------------------------


def test_control_keys_and_call_keys_do_not_open_each_others_door() -> None:
    control, control_row = mint(Kind.ADMIN, now=NOON, role="viewer")
    keyring = ring(ROW, control_row)

    assert keyring.authenticate_control(bearer(control), NOON).role == "viewer"
    assert reason(keyring, bearer(control)) is BadReason.WRONG_KIND
    with pytest.raises(BadKey, match="wrong_kind"):
        keyring.authenticate_control(bearer(PLAIN), NOON)


def test_test_keys_are_refused_where_the_configuration_says_so() -> None:
    plain, row = mint(Kind.TEST, now=NOON, team="search")

    assert ring(row).authenticate(bearer(plain), NOON).kind is Kind.TEST
    assert reason(ring(row, allow_test_keys=False), bearer(plain)) is BadReason.TEST_REFUSED
