"""A mixed day of calls (unary, streamed, refused, broken, left by their client), and the comparison of its two books."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support import calls
from tests.support.bill import Billed
from tests.support.calls import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, chat_body, headers_for
from tests.support.client import Broken, Connection
from tests.support.process import LedgerCall
from tests.support.script import HONEST, Script
from tests.support.shapes import words

REPORTED, OBSERVED, ESTIMATED = "reported", "observed", "estimated"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of call: how often it comes, what is asked, what happens, and on which bases it may be charged."""

    name: str
    weight: int
    bases: tuple[str, ...]
    path: str = CHAT
    stream: bool = False
    tells_usage: bool = False
    script: Script = HONEST
    leaves_after: int | None = None  # pieces of the answer; 0: before its head


STREAM_PAUSES = Script(chunk_delay_ms=5)

KINDS = (
    Kind("chat", 24, (REPORTED,)),
    Kind("chat, cached input", 6, (REPORTED,), script=Script(cached_tokens=3)),
    Kind("chat, gzip", 3, (REPORTED,), script=Script(gzip=True)),
    Kind("completion", 4, (REPORTED,), path=COMPLETIONS),
    Kind("embedding", 8, (REPORTED,), path=EMBEDDINGS),
    Kind("response", 8, (REPORTED,), path=RESPONSES),
    Kind("stream", 14, (REPORTED,), stream=True),
    Kind("stream with usage", 5, (REPORTED,), stream=True, tells_usage=True),
    Kind("response stream", 5, (REPORTED,), path=RESPONSES, stream=True),
    Kind("usage told late", 1, (REPORTED,), stream=True, script=Script(usage="late")),
    Kind("usage told twice", 1, (REPORTED,), stream=True, script=Script(usage="doubled")),
    Kind("explicit zero", 1, (REPORTED,), script=Script(usage="zero")),
    Kind("refused, 400", 3, (REPORTED,), script=Script(status=400)),
    Kind("throttled, 429", 3, (REPORTED,), script=Script(status=429, retry_after="1")),
    Kind("failed, 500", 3, (ESTIMATED,), script=Script(status=500)),
    Kind("no usage", 2, (OBSERVED,), script=Script(usage="missing")),
    Kind("negative usage", 1, (OBSERVED,), script=Script(usage="negative")),
    Kind("stream cut", 3, (OBSERVED,), stream=True, script=Script(fault="cut", after_chunks=1)),
    Kind("stream reset", 1, (OBSERVED,), stream=True, script=Script(fault="reset", after_chunks=1)),
    # An answer may be whole before the client has left it.
    Kind("client left a stream", 3, (OBSERVED, REPORTED), stream=True, script=STREAM_PAUSES, leaves_after=2),
    Kind(
        "client left, work went on",
        2,
        (OBSERVED, REPORTED),
        stream=True,
        script=replace(STREAM_PAUSES, ignores_disconnect=True),
        leaves_after=2,
    ),
    Kind("client left before the answer", 3, (REPORTED,), script=Script(delay_ms=30), leaves_after=0),
)


@dataclass(frozen=True, slots=True)
class Sent:
    tag: str
    kind: Kind


async def send_mixed(
    url: str, key: str, *, prefix: str, count: int, seed: int, at_once: int = 16
) -> list[Sent]:
    """`count` calls, `at_once` of them at a time. The seed decides their order and sizes."""
    chance = random.Random(seed)
    chosen = chance.choices(KINDS, weights=[kind.weight for kind in KINDS], k=count)
    sent = [Sent(f"{prefix}-{n}", kind) for n, kind in enumerate(chosen)]
    waiting = iter([(one, chance.randint(10, 40), chance.randint(2, 12)) for one in sent])

    async def work() -> None:
        for one, prompt_tokens, output_tokens in waiting:
            await _send(url, key, one, body_of(one.kind, prompt_tokens, output_tokens))

    await asyncio.gather(*(work() for _ in range(at_once)))
    return sent


def body_of(kind: Kind, prompt_tokens: int, output_tokens: int) -> bytes:
    more: dict[str, Any] = {"stream": True} if kind.stream else {}
    if kind.tells_usage:
        more["stream_options"] = {"include_usage": True}
    if kind.path == CHAT:
        return chat_body(prompt_tokens, max_tokens=output_tokens, **more)
    text = words(prompt_tokens)
    if kind.path == EMBEDDINGS:
        return json.dumps({"model": "text-embedding-3-small", "input": [text, text]}).encode()
    if kind.path == RESPONSES:
        plain = {"model": "gpt-4o-mini", "input": text, "max_output_tokens": output_tokens, **more}
        return json.dumps(plain).encode()
    return json.dumps({"model": "gpt-4o-mini", "prompt": text, "max_tokens": output_tokens, **more}).encode()


async def _send(url: str, key: str, one: Sent, body: bytes) -> None:
    script = replace(one.kind.script, tag=one.tag)
    leaves_after = one.kind.leaves_after
    if leaves_after is None:
        with contextlib.suppress(Broken):
            await calls.post(url, key, script, body, one.kind.path)
        return
    async with Connection(url) as connection:
        await connection.send("POST", one.kind.path, headers_for(key, script), body)
        if not leaves_after:
            await asyncio.sleep(0.01)
            return
        await connection.read_head()
        pieces = connection.pieces()
        for _ in range(leaves_after):
            await anext(pieces, b"")
        connection.reset()


@dataclass(slots=True)
class Comparison:
    """What the two books say of the same calls. `problems` is empty when they agree."""

    calls: int = 0
    bases: Counter[str] = field(default_factory=Counter)
    reported_nanos: int = 0
    reported_bill_nanos: int = 0
    other_nanos: int = 0  # charged on observation or estimate
    other_bill_nanos: int = 0
    problems: list[str] = field(default_factory=list)


def compare(sent: Sequence[Sent], ledger: Sequence[LedgerCall], bill: Sequence[Billed]) -> Comparison:
    """Every call once in the ledger, on an allowed basis; every reported charge equal to the bill."""
    found = Comparison(calls=len(sent))
    rows = Counter(row.tag for row in ledger)
    by_tag = {row.tag: row for row in ledger}
    billed = {entry.tag: entry for entry in bill}
    known = {one.tag for one in sent}
    found.problems += [f"{tag} is on the bill but was never sent" for tag in billed.keys() - known]
    for one in sent:
        if rows[one.tag] != 1:
            # A call whose client left so early that it was never read leaves no trace in either book.
            if rows[one.tag] or one.tag in billed:
                found.problems.append(f"{one.tag} ({one.kind.name}): {rows[one.tag]} rows in the ledger")
            continue
        _compare_one(found, one, by_tag[one.tag], billed.get(one.tag))
    return found


def _compare_one(found: Comparison, one: Sent, row: LedgerCall, entry: Billed | None) -> None:
    name = f"{one.tag} ({one.kind.name})"
    if entry is None:
        if row.nanos:
            found.problems.append(f"{name}: charged {row.nanos}, but never reached the provider")
        return
    found.bases[row.basis] += 1
    if row.basis not in one.kind.bases:
        found.problems.append(f"{name}: charged as {row.basis or 'nothing'}, not {'/'.join(one.kind.bases)}")
    if row.basis != REPORTED:
        found.other_nanos += row.nanos
        found.other_bill_nanos += entry.nanos
        return
    found.reported_nanos += row.nanos
    found.reported_bill_nanos += entry.nanos
    if row.nanos != entry.nanos:
        found.problems.append(f"{name}: reported {row.nanos} nano-dollars, the bill says {entry.nanos}")
