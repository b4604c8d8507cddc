"""One attempt to pay less than the provider bills, and what came of it on both sides."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from tests.support.bill import Billed
from tests.support.calls import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, headers_for
from tests.support.client import Headers, ask, header
from tests.support.gathering import NANOS_PER_USD
from tests.support.process import ScriptedProvider, Spendgate
from tests.support.script import Script

REFUSALS = (400, 402, 403, 404, 405, 408, 411, 413, 415, 417, 426, 501, 505)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is sent, and by its script what the provider makes of it: for an evasion, the dearest it may."""

    body: bytes
    path: str = CHAT
    script: Script = field(default_factory=Script)
    headers: Headers = ()
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`billed` is the provider's own entry, `row` Spendgate's; both are absent where nothing was sent."""

    status: int
    code: str
    estimate: int  # nano-dollars: what a refusal for a budget says that the call may cost
    billed: Billed | None
    row: Mapping[str, Any] | None

    @property
    def nanos(self) -> int:
        return 0 if self.row is None or self.row["cost_usd"] is None else nanos(self.row["cost_usd"])

    @property
    def ceiling(self) -> int:
        assert self.row is not None, "nothing was sent"
        return nanos(self.row["estimate_ceiling_usd"])

    @property
    def flags(self) -> list[str]:
        return [] if self.row is None else list(self.row["flags"])


def nanos(dollars: str) -> int:
    return int(Decimal(dollars) * NANOS_PER_USD)


async def outcome(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, attempt: Attempt
) -> Outcome:
    """Make the attempt with a key of Spendgate's."""
    script = replace(attempt.script, tag=tag)
    own = {name.lower() for name, _ in attempt.headers}
    headers = [(name, value) for name, value in headers_for(key, script) if name.lower() not in own]
    reply = await ask(spendgate.url, attempt.method, attempt.path, [*headers, *attempt.headers], attempt.body)
    if reply.status in REFUSALS and not provider.bill(tag):
        error = json.loads(reply.body)["error"]
        return Outcome(reply.status, error["code"], nanos(error.get("estimate_usd") or "0"), None, None)
    row = await row_of(spendgate, key, reply.headers)
    billed = provider.billed(tag) if provider.bill(tag) else None  # it bills before it answers
    return Outcome(reply.status, "", 0, billed, row)


async def row_of(spendgate: Spendgate, key: str, headers: Headers) -> Mapping[str, Any]:
    """What Spendgate wrote down of the call with these answer headers."""
    call_id = header(headers, "x-spendgate-call-id")
    assert call_id, "an answer without a call id"
    page = f"/_spendgate/v1/calls/{call_id}"
    told = await ask(spendgate.url, "GET", page, [("Authorization", f"Bearer {key}")])
    assert told.status == 200, told.body
    found: Mapping[str, Any] = told.json()
    return found


async def check_held(
    spendgate: Spendgate, provider: ScriptedProvider, keys: tuple[str, str], tag: str, attempt: Attempt
) -> Outcome:
    """The law: a strict budget with nothing in it refuses the call, at an estimate that the bill does not pass; without
    a budget the charge is the bill at least, or its row owns up to less. Gives the second outcome."""
    poor, free = keys
    refused = await outcome(spendgate, provider, poor, f"{tag}-poor", attempt)
    assert refused.billed is None, "it reached the provider, against a strict budget"
    passed = await outcome(spendgate, provider, free, f"{tag}-free", attempt)
    if passed.billed is None:
        assert passed.status == refused.status, "refused for another reason than the budget's"
        return passed
    if refused.code == "budget_exceeded":
        assert refused.estimate >= passed.billed.nanos, "less would be held than the provider bills"
    else:
        assert refused.status in (400, 403), "refused for a reason that is none of the call's"
    assert passed.nanos >= passed.billed.nanos or passed.flags, "charged less than billed, without a word"
    return passed


def body(path: str, fields: dict[str, Any]) -> bytes:
    """A call of that path; `fields` are added to it, or stand in its place."""
    shapes: dict[str, dict[str, Any]] = {
        CHAT: {"messages": [{"role": "user", "content": "hi"}]},
        COMPLETIONS: {"prompt": "hi"},
        EMBEDDINGS: {"model": "text-embedding-3-small", "input": "hi"},
        RESPONSES: {"input": "hi"},
    }
    return json.dumps({"model": "gpt-4o-mini", **shapes[path], **fields}).encode()
