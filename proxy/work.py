"""Work that a provider goes on with after its answer: which answers tell of it, and what it stands at until its end."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from pricing.charge import Basis, Charge, Outcome, Seen, charge_for
from pricing.estimate import Estimate
from pricing.money import Nanos
from pricing.price import Price
from pricing.tokens import Counter, Prompt
from pricing.usage import Usage
from proxy.dialects import BadBody, BatchApi, Dialect, Metered
from proxy.dialects.codings import decoded
from proxy.dialects.openai_responses import Responses
from proxy.ledger.deferred import Waiting
from proxy.meter import parsed
from proxy.records import Deferred

ANSWER_BYTES_MAX = 16 << 20
COUNTED_CHARS_MAX = 65_536
ASK_AGAIN_MIN, ASK_AGAIN_MAX = timedelta(seconds=10), timedelta(minutes=5)

_ENDED = ("completed", "incomplete", "failed", "cancelled")
_NAME = r"[A-Za-z0-9_-]{1,200}"
_ID = re.compile(_NAME)
_ASKED = {
    "openai": re.compile(rf"(?:/v1)?/(?:responses|batches)/({_NAME})/?"),
    "anthropic": re.compile(rf"(?:/v1)?/messages/batches/({_NAME})/?"),
}
_CANCEL = re.compile(r"/cancel/?")
_KEPT_QUERY = ("api-version",)  # of the submission's: the rest may hold anything


def is_object_id(text: str) -> bool:
    """Can it stand in a path as it is?"""
    return _ID.fullmatch(text) is not None


def asked_id(dialect: str, method: str, path: str) -> str:
    """The id of the work that a call asks after, or stops; empty where it does neither."""
    pattern = _ASKED.get(dialect)
    if pattern is None or method not in ("GET", "POST"):
        return ""
    stopped = _CANCEL.search(path)
    if method == "POST":
        if stopped is None or stopped.end() < len(path):
            return ""
        path = path[: stopped.start()]
    found = pattern.fullmatch(path)
    return "" if found is None else found.group(1)


def kept_query(query: str) -> str:
    """What of a submission's query whoever asks later must repeat."""
    kept = [pair for pair in parse_qsl(query.removeprefix("?")) if pair[0] in _KEPT_QUERY]
    return f"?{urlencode(kept)}" if kept else ""


def told_in(object_id: str, body: bytes, coding: str = "") -> Mapping[str, Any] | None:
    """An answer that tells of a work, by its id."""
    try:
        plain = decoded(body, coding.lower(), limit_bytes=ANSWER_BYTES_MAX)
    except BadBody:
        return None
    answer = None if plain is None else parsed(plain)
    return answer if answer is not None and answer.get("id") == object_id else None


def end_of(answer: Mapping[str, Any]) -> Metered | None:
    """How a response ended. None: not yet."""
    return Responses().meter_whole(answer) if answer.get("status") in _ENDED else None


def is_end_of_batch(answer: Mapping[str, Any]) -> bool:
    return answer.get("status") == "expired" or answer.get("processing_status") == "ended"


def batch_api(dialect: Dialect | None, work: Deferred) -> BatchApi | None:
    """None for work that is no batch."""
    api = None if dialect is None else dialect.surface("POST", unquote(work.path)).api
    return api if isinstance(api, BatchApi) else None


def next_look(at: datetime, now: datetime) -> datetime:
    """Twice as long after the start as now, in bounds: 10, 20, 40 seconds, and so on up to every five minutes."""
    return now + min(max(now - at, ASK_AGAIN_MIN), ASK_AGAIN_MAX)


def standing(waiting: Waiting, flag: str, reason: str) -> Charge:
    """The charge of the beginning, for good."""
    row = waiting.row
    usage = Usage(input_tokens=row.estimate_input_tokens, output_tokens=row.estimate_output_tokens)
    flags = ("unknown_price", flag) if waiting.work.unpriced else (flag,)
    return Charge(
        Nanos(waiting.charged_nanos), Basis(waiting.charged_basis), usage, row.price_version, flags, reason
    )


def final_charge(
    waiting: Waiting,
    told: Metered,
    *,
    price: Price,
    counter: Counter,
    unpriced: bool = False,
    is_own_cost: bool = False,
) -> Charge:
    """What a response cost as the provider tells; with `is_own_cost` its own figure goes before the price."""
    row = waiting.row
    estimate = Estimate(
        Nanos(row.estimate_expected_nanos),
        Nanos(row.estimate_ceiling_nanos),
        0.0,
        "",
        row.estimate_input_tokens,
        row.estimate_input_tokens,
        row.estimate_output_tokens,
        row.estimate_output_tokens,
    )
    charge = charge_for(
        Outcome.FAILED if told.usage is None else Outcome.ANSWERED,
        price=price,
        estimate=estimate,
        usage=told.usage,
        suspect=told.suspect,
        seen=Seen(output_tokens=counted(told.output_text, row.model, counter)),
        service_tier=told.service_tier,
        asked_tier=waiting.work.asked_tier,
        unpriced=unpriced,
        own_cost=told.own_cost if is_own_cost else None,
        own_cost_problem=told.own_cost_problem if is_own_cost else "",
    )
    assert charge is not None, "work that was begun is charged"
    return replace(charge, reason="the work ended without a usage") if told.usage is None else charge


def counted(text: str, model: str, counter: Counter) -> int:
    """Tokens; those of a long text in proportion."""
    if not text:
        return 0
    sample = text[:COUNTED_CHARS_MAX]
    return -(-counter.count(Prompt(texts=(sample,)), model).tokens * len(text) // len(sample))
