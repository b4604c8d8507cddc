"""Why a call went as it did, from its row alone: the refusal as its caller was told it, or what it passed."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pricing.money import usd
from rules.measure import Measure
from rules.scope import parse_scope
from rules.sentence import during, subject
from rules.window import Period, window_of

REFUSED = "refused"
_EDITS = {
    "capped": "its longest answer was lowered",
    "not_downgraded": "a rule asked for a cheaper model, and the request could not be changed so",
    "not_capped": "a rule asked for a shorter answer, and the request could not be changed so",
}


def explain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Facts for programs and, as `sentence`, for people. `row` is a call as the ledger shows it. Of a refused call the
    sentence and the figures of `refusal` are those of the answer that it got; `budgets` are as they stood once this call
    was held."""
    went = row["outcome"] != REFUSED
    refusal = None if went else {"status": row["status"], "code": row["error_type"], **row["refusal"]}
    return {
        "call_id": row["call_id"],
        "at": row["at"],
        "team": row["team"],
        "key_id": row["key_id"],
        "model": row["model"],
        "asked_model": row["asked_model"] or row["model"],
        "went": went,
        "verdict": row["verdict"],
        "sentence": _sentence(row) if went else row["reason"],
        "refusal": refusal,
        "budgets": [_budget(each) for each in row["limits"]],
        "rules": row["rule_ids"],
        "shadow": row["shadow_ids"],
        "edits": list(_edits(row)),
        "estimate_usd": row["estimate_expected_usd"],
        "ceiling_usd": row["estimate_ceiling_usd"],
        "policy_version": row["policy_version"],
    }


def told(explained: Mapping[str, Any]) -> Iterator[str]:
    """Everything but the sentence, in plain words, a line each."""
    refusal = explained["refusal"]
    if refusal is not None:
        yield from _refusal_told(refusal)
    yield from explained["edits"]
    for budget in explained["budgets"]:
        line = _budget_told(budget)
        if line:
            yield line
    if explained["rules"]:
        yield f"rules and limits that met it: {', '.join(explained['rules'])}"
    if explained["shadow"]:
        yield f"rules that would have acted, were they enforced: {', '.join(explained['shadow'])}"


def _sentence(row: Mapping[str, Any]) -> str:
    if row["asked_model"]:
        return f'it went, to model "{row["model"]}" instead of "{row["asked_model"]}"'
    done = {"cap": ", with a shorter answer", "throttle": ", slowed down"}.get(row["verdict"], "")
    limited = any(each["limit"] is not None for each in row["limits"])
    return f"it went{done}: " + ("every limit over it had room" if limited else "no limit is over it")


def _edits(row: Mapping[str, Any]) -> Iterator[str]:
    if row["asked_model"]:
        yield f'a rule had model "{row["model"]}" asked for instead of "{row["asked_model"]}"'
    yield from (words for flag, words in _EDITS.items() if flag in row["flags"])
    if row["waited_ms"]:
        yield f"it waited {row['waited_ms'] / 1000:.3g} s for its turn"


def _budget(limit: Mapping[str, Any]) -> dict[str, Any]:
    scope, period, timezone, start, measure = str(limit["counter"]).rsplit("|", 4)
    end = window_of(Period(period), timezone, datetime.fromtimestamp(int(start), tz=UTC)).end
    most, spent, held = limit["limit"], limit["spent"], limit["held"]
    found = {"owner": limit["owner"], "scope": scope, "period": period, "measure": measure}
    if measure == Measure.CONCURRENT:
        return {**found, "limit": most, "in_flight": held}
    return {
        **found,
        "resets_at": None if end is None else end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "limit_usd": None if most is None else usd(most),
        "spent_usd": usd(spent),
        "held_usd": usd(held),
        "left_usd": None if most is None else usd(most - spent - held),
    }


def _budget_told(budget: Mapping[str, Any]) -> str:
    """Empty for what is only counted."""
    whose = subject(parse_scope(budget["scope"]))
    if budget["measure"] == Measure.CONCURRENT:
        return f"{budget['owner']}: {whose} had {budget['in_flight']} of {budget['limit']} calls in flight, this one among them"
    if budget["limit_usd"] is None:
        return ""
    resets = "" if budget["resets_at"] is None else f", resets {_minute(budget['resets_at'])}"
    return (
        f"{budget['owner']}: {whose} had ${budget['left_usd']} left of ${budget['limit_usd']} {during(Period(budget['period']))}, "
        f"${budget['spent_usd']} spent and ${budget['held_usd']} held, this call's hold among it{resets}"
    )


def _refusal_told(refusal: Mapping[str, Any]) -> Iterator[str]:
    by = f"by {refusal['rule_id']}" if refusal.get("rule_id") else f"with {refusal['code']}"
    scope = f", of {subject(parse_scope(refusal['scope']))}" if refusal.get("scope") else ""
    yield f"refused {by}{scope} ({refusal['status']} {refusal['code']})"
    figures = [
        f"{name} ${refusal[f'{name}_usd']}"
        for name in ("limit", "spent", "held", "estimate")
        if refusal.get(f"{name}_usd") is not None
    ]
    others = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in refusal.items()
        if name.startswith(("limit_", "used_", "asked_", "interval_")) and not name.endswith("_usd")
    ]
    if figures or others:
        yield ", ".join((*figures, *others))
    if refusal.get("resets_at"):
        yield f"resets {_minute(refusal['resets_at'])}"


def _minute(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
