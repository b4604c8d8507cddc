"""Answers of our own: errors in the caller's own envelope, and the headers that we add to a provider's answer."""

import orjson
from aiohttp import web

from pricing.charge import Charge
from pricing.money import usd
from proxy import clock
from proxy.dialects import Dialect
from proxy.errors import ProxyError
from proxy.holds import Holds
from proxy.opencall import OpenCall
from proxy.ratelimit import OURS, rate_headers
from proxy.server import Reply, reply
from rules.measure import Measure
from rules.rate import Standing
from rules.verdict import Verdict

Headers = list[tuple[str, str]]


def problem(
    request: web.BaseRequest, error: ProxyError, dialect: Dialect, *, call_id: str, trace_id: str
) -> Reply:
    """An error with its request id. What waiting cannot mend tells SDKs not to retry."""
    body = dialect.refusal(
        status=error.status,
        message=error.message,
        kind=error.kind,
        code=error.code,
        param=error.param,
        extra={"request_id": call_id, **error.extra},
    )
    headers: Headers = [("Content-Type", "application/json"), ("X-Request-ID", call_id)]
    headers += [(name, call_id) for name in dialect.request_id_names]
    if trace_id:
        headers.append(("X-Trace-ID", trace_id))
    if error.retry_after_seconds is not None:
        headers.append(("Retry-After", str(error.retry_after_seconds)))
    headers += error.headers
    if not error.should_retry and error.status < 500:
        headers.append(("x-should-retry", "false"))
    return reply(request, error.status, None, headers, body, close=error.close)


def added_headers(call: OpenCall, holds: Holds, charge: Charge | None = None) -> Headers:
    """What a provider's answer gets from us. The cost only where the answer was held until it was known."""
    headers: Headers = [("x-spendgate-call-id", call.row.call_id)]
    if call.row.trace_id:
        headers.append(("X-Trace-ID", call.row.trace_id))
    if call.billable:
        headers.append(("x-spendgate-estimate-usd", usd(call.estimate.expected)))
    if call.row.verdict not in ("", Verdict.ALLOW.value):
        headers.append(("x-spendgate-verdict", call.row.verdict))
    if call.asked_model:
        headers.append(("x-spendgate-model", call.call.model))
    remaining = _remaining(call, holds)
    if remaining is not None:
        headers.append(("x-spendgate-budget-remaining-usd", usd(remaining)))
    if call.hold is not None and call.hold.pours:
        now = clock.now()
        rates = (pour.rate for pour in call.hold.pours)
        headers += rate_headers(OURS, [Standing(rate, holds.used(rate.bucket, now)) for rate in rates])
    if charge is not None:
        cost = usd(charge.nanos)
        usage = charge.usage
        headers += [
            ("x-spendgate-cost-usd", cost),
            ("X-API-Cost", cost),
            (
                "X-Token-Usage",
                orjson.dumps(
                    {
                        "prompt_tokens": usage.input_tokens,
                        "completion_tokens": usage.output_tokens,
                        "total_tokens": usage.input_tokens + usage.output_tokens,
                    }
                ).decode(),
            ),
        ]
    return headers


def _remaining(call: OpenCall, holds: Holds) -> int | None:
    """The least that any budget over this call has left, holds counted; never below zero."""
    left = [
        limit.nanos - balance.spent - balance.held
        for limit in call.limits
        if limit.nanos is not None and limit.counter.measure is Measure.SPEND
        for balance in (holds.balance(limit.counter),)
    ]
    return max(0, min(left)) if left else None
