"""What a call would cost and whether it would go now, with the working; the same for the admin API and the command line."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from pricing.estimate import FREE, Estimate, usage_of
from pricing.money import Nanos, usd
from pricing.overrides import Prices
from pricing.price import PER, Price
from pricing.rates import MILLION, Rates
from pricing.tokens import COUNTED_BYTES_MAX, Prompt, TokenCount, text_bytes
from proxy import dialects
from proxy.admin.answers import Problem
from proxy.admin.working import shown_part
from proxy.auth import Key, Kind, key_of
from proxy.callrow import kept
from proxy.dialects import Api, BadBody, Reading, Surface
from proxy.dialects import read_body as read_of
from proxy.errors import Refused
from proxy.estimating import affordable_tokens, billed_of, estimate_of, habit_of, price_of
from proxy.estimators import Counts
from proxy.holds.local import LocalHolds
from proxy.holds.seed import spent_on
from proxy.learned import Learned
from proxy.ledger import Ledger, keys
from proxy.ledger.ship import Shipper
from proxy.routing import route
from proxy.settings import Config
from rules.call import Call, CallId
from rules.category import shown_name
from rules.counter import Balance, CounterKey, HoldMode, Limit, claims_of
from rules.decide import decide
from rules.figures import Balances
from rules.measure import Measure
from rules.override import Override, raised
from rules.policy import Policy
from rules.scope import ScopeKind
from rules.spec import ExactName

BODY_BYTES_MAX = 8 << 20
CHAT_PATH = "/v1/chat/completions"
NONE_YET = Balance(Nanos(0), Nanos(0))

NO_LEDGER = "no ledger is at hand: what is spent is not known, so nobody can say whether the call would go"
NO_SERVER = "no server lives: what is spent is the ledger's, and nothing is held"
NO_TEAM = "no team or key was named: budgets that stand for each team are left out"
HIDDEN = "part of the input is not in the request: at most the whole context window is read"
NO_PRICE = "no price is known, and unknown_model is allow_unmetered: the call goes, and is charged nothing"
STAND_IN = "no price is known for this model: the dearest of its provider stands in"


class Wanted(BaseModel):
    """A call that somebody thinks of making: the body of its request, and whose call it would be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(default=CHAT_PATH, max_length=512)
    provider: str | None = Field(default=None, max_length=128)
    team: ExactName | None = None
    key: str | None = Field(default=None, max_length=64)
    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Desk:
    """What an estimate stands on. Holds and shipper are a live server's; without a ledger nobody knows balances."""

    config: Config
    book: Prices
    counter: Counts
    learned: Learned
    policy: Callable[[], Policy]
    ledger: Ledger | None
    holds: LocalHolds | None = None
    shipper: Shipper | None = None
    overrides: Callable[[], Sequence[Override]] = lambda: ()  # of budgets: `policy` knows them, keys do not


@dataclass(frozen=True, slots=True)
class Worked:
    """A call as it would be admitted."""

    call: Call
    reading: Reading
    limits: tuple[Limit, ...]
    price: Price | None
    stands_in: bool  # the price is another model's
    parts: tuple[tuple[str, int], ...]  # of the input, in tokens
    count: TokenCount
    billed: int  # of what was counted, as usually billed
    learned: bool
    estimate: Estimate
    at_cap: Callable[[int], Estimate] | None  # None: nothing in the call could be lowered


async def explain(desk: Desk, wanted: Wanted, now: datetime) -> dict[str, Any]:
    """Every step from the request to the verdict, as people and programs read it. Raises Problem."""
    key = await _key(desk, wanted)
    policy, notes = desk.policy(), list(_notes_on_key(key, now))
    worked = await _work(desk, policy, wanted, key, now)
    balances = await _balances(desk, policy, worked, key)
    notes += _notes(desk, wanted, worked, known=balances is not None)
    decision = decide(
        policy,
        worked.call,
        worked.estimate,
        key_budgets=() if key is None else key.budgets,
        figures=Balances(lambda counter: (balances or {}).get(counter, NONE_YET)),
        now=now,
    )
    shown = list(_limits(worked, balances))
    refusal = "" if decision.refusal is None else decision.refusal.sentence
    return {
        **_facts(worked),
        "limits": shown,
        "allowed": _allowed(shown, refusal, dead=_is_dead(key, now)),
        "refusal": refusal,
        "notes": notes,
    }


# -- whose call, and which ------------------------------------------------------------------------------------------


async def _key(desk: Desk, wanted: Wanted) -> Key | None:
    if wanted.key is None:
        return None
    if desk.ledger is None:
        raise Problem(
            400, "ledger_unavailable", "key: there is no ledger to look it up in; name a team instead"
        )
    async with desk.ledger.connect() as connection:
        rows = await keys.every(connection)
    row = next((row for row in rows if row.key_id == wanted.key), None)
    if row is None:
        raise Problem(
            404, "unknown_key", f'no key has the id "{wanted.key}": `spendgate keys list` shows them'
        )
    key = key_of(row, timezone=desk.policy().timezone)
    key = replace(key, budgets=tuple(raised(each, desk.overrides()) for each in key.budgets))
    if key.kind is not Kind.LIVE:
        why = "makes no calls" if key.kind is Kind.ADMIN else "makes calls that cost nothing"
        raise Problem(400, "invalid_request", f"key: a key of the kind {key.kind.value} {why}")
    if wanted.team not in (None, key.team):
        raise Problem(400, "invalid_request", f'team: the key is of team "{key.team}"')
    return key


async def _work(desk: Desk, policy: Policy, wanted: Wanted, key: Key | None, now: datetime) -> Worked:
    """What admission does before it places a hold, step by step and with the same functions."""
    team = key.team if key is not None else wanted.team or ""
    budgets, key_id = (() if key is None else key.budgets), "" if key is None else key.id
    provider, path, chosen = _way(desk.config, wanted)
    surface, api = _surface(desk.config, provider, path)
    call = Call(CallId("estimate"), now, surface.operation, provider, "", team, key_id)
    strict = policy.is_strict_for(call, budgets)
    try:
        body = orjson.dumps(wanted.request)
        reading = await asyncio.to_thread(read_of, api, body, "application/json", strict=strict)
    except BadBody as bad:
        raise Problem(400, bad.code, bad.message) from bad
    except TypeError as error:
        raise Problem(400, "invalid_json", f"request: {error}") from error
    named = None if chosen else policy.route(reading.model)
    if named is not None and named != provider:
        provider = named
        surface, api = _surface(desk.config, provider, path)
    call = Call(
        call.id,
        now,
        surface.operation,
        provider,
        kept(reading.model),
        team,
        key_id,
        user=kept(reading.user),
        category=shown_name(reading.category),
        stream=reading.stream,
    )
    limits = tuple(limit for limit in policy.limits(call, budgets) if _is_named(limit.counter))
    try:
        price, known = price_of(desk.config, desk.book, call, reading, limits)
    except Refused as refused:
        raise Problem(refused.status, refused.code, refused.message) from refused
    parts, count = await asyncio.to_thread(_counted, desk.counter, reading.prompt, reading.model)
    habit = habit_of(desk.learned, call, reading)
    made, at_cap = FREE, None
    if price is not None:
        made = estimate_of(reading, count, price, habit)
        if reading.media is None and desk.config.transparent != "exact":

            def at_cap(cap: int, price: Price = price) -> Estimate:
                return estimate_of(reading, count, price, habit, cap=cap)

    beside = made.input_tokens - count.tokens
    if price is not None and beside:
        parts = (*parts, ("media", beside))
    learned = reading.has_output and reading.media is None and habit.output_expected is not None
    billed = billed_of(count, reading, habit)
    return Worked(
        call,
        reading,
        limits,
        price,
        price is not None and not known,
        parts,
        count,
        billed,
        learned,
        made,
        at_cap,
    )


def _way(config: Config, wanted: Wanted) -> tuple[str, str, bool]:
    """Provider, path at it, and whether the caller chose it so that no model route may change it."""
    providers = config.providers
    if wanted.provider is not None and wanted.provider not in providers:
        raise Problem(400, "invalid_request", f"provider: choose one of {', '.join(providers)}")
    if wanted.provider is not None:
        return wanted.provider, wanted.path.partition("?")[0].removeprefix(f"/{wanted.provider}"), True
    way = route(wanted.path, providers=providers, default=config.default_provider)
    if way is None:
        raise Problem(404, "unknown_path", "path: no provider answers there; use /v1/... or /<provider>/...")
    return way.provider, way.path, way.chosen


def _surface(config: Config, provider: str, path: str) -> tuple[Surface, Api]:
    surface = dialects.find(config.providers[provider].dialect).surface("POST", path)
    if surface.kind == "metered" and surface.api is not None:
        return surface, surface.api
    why = "costs nothing" if surface.kind == "free" else "is not metered"
    raise Problem(400, "surface_not_metered", f'path: POST {path} of provider "{provider}" {why}')


def _is_named(counter: CounterKey) -> bool:
    """Without a team, what stands for each team stands for none."""
    return counter.scope.kind is ScopeKind.GLOBAL or bool(counter.scope.name)


# -- tokens ---------------------------------------------------------------------------------------------------------


def _counted(counter: Counts, prompt: Prompt, model: str) -> tuple[tuple[tuple[str, int], ...], TokenCount]:
    """What each part adds to the count of those before it, so that the parts come to the whole. Texts come last: they
    are counted once."""
    counts = counter.bound if text_bytes(prompt) > COUNTED_BYTES_MAX else counter.count
    steps = (
        ("framing", {"messages": prompt.messages, "named": prompt.named}),
        ("tools", {"tools": prompt.tools}),
        ("schema", {"schema": prompt.schema}),
        ("images", {"images": prompt.images}),
        ("attachments", {"attachment_bytes": prompt.attachment_bytes}),
        ("token arrays", {"tokens": prompt.tokens}),
        ("texts", {"texts": prompt.texts}),
    )
    parts, so_far, before = [], Prompt(), 0
    count = counts(prompt, model)
    for name, facts in steps:
        if not any(facts.values()):
            continue
        so_far = replace(so_far, **facts)
        tokens = count.tokens if name == "texts" else counts(so_far, model).tokens
        parts.append((name, tokens - before))
        before = tokens
    return tuple(parts), count


# -- balances -------------------------------------------------------------------------------------------------------


async def _balances(
    desk: Desk, policy: Policy, worked: Worked, key: Key | None
) -> Mapping[CounterKey, Balance] | None:
    """As the live server holds them; counters that it has not used yet, and all of them without it, by the roll-ups."""
    plan = policy.plan(worked.call, () if key is None else key.budgets)
    wanted = {
        limit.counter
        for limit in (*worked.limits, *(each.limit for each in plan.matters if each.limit is not None))
    }
    if desk.ledger is None:
        return None
    unknown = set(wanted if desk.holds is None else desk.holds.unknown(wanted))
    if unknown and desk.shipper is not None:
        await desk.shipper.flush()
    spent = {counter: await spent_on(desk.ledger, counter) for counter in unknown if _is_named(counter)}
    known = {} if desk.holds is None else {each: desk.holds.balance(each) for each in wanted - unknown}
    return {**known, **{counter: Balance(amount, Nanos(0)) for counter, amount in spent.items()}}


def _limits(worked: Worked, balances: Mapping[CounterKey, Balance] | None) -> Iterator[dict[str, Any]]:
    for claim in claims_of(worked.limits, worked.estimate):
        if claim.counter.measure is not Measure.SPEND:
            continue  # how many calls are in flight when it is asked says nothing about when it is sent
        for limit in claim.limits:
            balance = None if balances is None else balances.get(limit.counter, NONE_YET)
            end = limit.counter.window.end
            yield {
                "id": limit.owner,
                "scope": str(limit.counter.scope),
                "period": limit.counter.period.value,
                "hold": limit.hold.value,
                "limit_usd": _usd(limit.nanos),
                "spent_usd": None if balance is None else usd(balance.spent),
                "held_usd": None if balance is None else usd(balance.held),
                "left_usd": None if balance is None else _usd(_left(limit, balance)),
                "asks_usd": usd(claim.amount),
                "allows": _verdict(worked, limit, balance, claim.amount),
                "resets_at": None if end is None else end.isoformat(),
            }


def _verdict(worked: Worked, limit: Limit, balance: Balance | None, amount: Nanos) -> str:
    """As place decides: yes, no, with a lower limit on the output, or once other calls have ended."""
    if worked.price is None or limit.nanos is None:
        return "yes"
    if limit.nanos == 0:
        return "no"
    if balance is None:
        return "unknown"
    if balance.spent + balance.held + amount <= limit.nanos:
        return "yes"
    if limit.hold is HoldMode.CAPPED and worked.at_cap is not None:
        cap = affordable_tokens(worked.at_cap, worked.estimate, limit.nanos - balance.spent - balance.held)
        if cap is not None:
            return f"capped at {cap} tokens"
    return "no" if balance.spent + amount > limit.nanos else "after a wait"


def _left(limit: Limit, balance: Balance) -> int | None:
    return None if limit.nanos is None else max(0, limit.nanos - balance.spent - balance.held)


def _allowed(limits: Sequence[Mapping[str, Any]], refusal: str, *, dead: bool) -> str:
    """The worst of all that was said; a call that would wait or be capped goes in the end."""
    said = [each["allows"] for each in limits]
    if refusal or dead or "no" in said:
        return "no"
    if "unknown" in said:
        return "unknown"
    return next((each for each in said if each != "yes"), "yes")


# -- as it is read --------------------------------------------------------------------------------------------------


def _facts(worked: Worked) -> dict[str, Any]:
    call, made, count = worked.call, worked.estimate, worked.count
    beside = made.input_tokens - count.tokens if worked.price is not None else 0
    return {
        "provider": call.provider,
        "model": call.model,
        "operation": call.operation.value,
        "team": call.team,
        "key": call.key_id,
        "input": {
            "parts": [{"part": name, "tokens": tokens} for name, tokens in worked.parts],
            "counted": count.tokens + beside,
            "expected": worked.billed + beside,
            "max": max(made.input_tokens_max, count.tokens_max),
        },
        "output": {
            "choices": worked.reading.choices,
            "expected": made.output_tokens,
            "max": made.output_tokens_max,
            "learned": worked.learned,
        },
        "price": _price(worked),
        "expected_usd": usd(made.expected),
        "ceiling_usd": usd(made.ceiling),
        "confidence": round(made.confidence, 3),
        "basis": made.basis,
    }


def _price(worked: Worked) -> dict[str, Any] | None:
    """The rates of the tier asked for at that many tokens, and what the expected usage comes to at them."""
    price, made = worked.price, worked.estimate
    if price is None:
        return None
    tier = worked.reading.service_tier
    tokens = worked.billed + made.input_tokens - worked.count.tokens
    usage = usage_of(made.beside, input_tokens=tokens, output_tokens=made.output_tokens)
    return {
        "version": price.version,
        "tier": tier,
        "rates": list(_rates(price.tariff(tier).rates_for(tokens))),
        "parts": [shown_part(part) for part in price.cost(usage, service_tier=tier).parts],
    }


def _rates(rates: Rates) -> Iterator[dict[str, Any]]:
    for field in fields(rates):
        rate = getattr(rates, field.name)
        if rate or field.name in ("input", "output"):
            yield {"class": field.name, "unit_usd": usd(rate), "per": PER.get(field.name, MILLION)}


def _notes(desk: Desk, wanted: Wanted, worked: Worked, *, known: bool) -> Iterator[str]:
    if worked.price is None:
        yield NO_PRICE
    elif worked.stands_in:
        yield STAND_IN
    if worked.reading.prompt.hidden:
        yield HIDDEN
    if wanted.team is None and wanted.key is None:
        yield NO_TEAM
    if not worked.limits:
        return
    if not known:
        yield NO_LEDGER
    elif desk.holds is None:
        yield NO_SERVER


def _notes_on_key(key: Key | None, now: datetime) -> Iterable[str]:
    if key is not None and _is_dead(key, now):
        yield "the key is revoked" if key.revoked_at is not None else "the key has expired"


def _is_dead(key: Key | None, now: datetime) -> bool:
    if key is None:
        return False
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


def _usd(amount: int | None) -> str | None:
    return None if amount is None else usd(amount)
