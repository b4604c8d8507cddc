"""What a test asks of the scripted provider for one call: carried in a request header through the proxy."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

HEADER = "x-script"

Fault = Literal[
    "",
    "cut",  # the answer ends in the middle, its connection closed as if all were well
    "reset",  # the connection is reset (RST)
    "drop",  # the connection is closed before any byte of an answer
    "hang",  # nothing more comes
    "garbage",  # bytes that are not HTTP
    "invalid_json",  # an answer, or an event, that is not JSON
    "error_event",  # an error event in the middle of a stream
]
Tale = Literal[
    "honest", "missing", "null", "zero", "negative", "nan", "infinity", "string", "fraction", "huge",
    "doubled", "decreasing", "late", "after_done",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    """All defaults together: an honest answer at once."""

    tag: str = ""  # the test's own name for the call; the bill carries it
    fault: Fault = ""
    after_chunks: int | None = None  # None: the fault comes before the head of the answer
    delay_ms: int = 0  # before the head
    chunk_delay_ms: int = 0
    status: int = 200
    retry_after: str = ""
    usage: Tale = "honest"
    model: str = ""  # the served model, where it is not the one asked for
    output_tokens: int | None = None  # of each choice; None: as many as were asked for
    cached_tokens: int = 0
    input_tokens: int | None = None  # what it read; None: what stands in the body
    cost_usd: float | None = None  # told in the usage, and billed, whatever the tokens come to
    cost_lie: Any = None  # told in the usage as its cost, and not billed
    tier: str = ""  # the service tier it was served in, and billed at
    ignores_disconnect: bool = False  # goes on working, and billing, without a reader
    close_delimited: bool = False  # neither length nor chunks: the body ends with its connection
    gzip: bool = False
    coding: str = (
        ""  # of the answer's body: gzip, br and zstd as they are; of any other only the header says so
    )
    padding_bytes: int = 0  # makes a unary answer this much longer
    reply: dict[str, Any] | None = (
        None  # of echo paths: {"status": .., "headers": [[name, value]], "body": ".."}
    )

    def header(self) -> dict[str, str]:
        """As it travels: only what differs from the defaults."""
        plain = {name: value for name, value in asdict(self).items() if value != getattr(HONEST, name)}
        return {HEADER: json.dumps(plain)}


HONEST = Script()


def exactly(status: int, headers: list[tuple[str, str]], body: bytes = b"") -> dict[str, Any]:
    """A reply that is made of these bytes."""
    return {"status": status, "headers": headers, "body": body.hex()}


def read(header: str | None) -> Script:
    """Raises ValueError for a field that does not exist: a typing error in a test must not pass as honesty."""
    plain = json.loads(header or "{}")
    unknown = set(plain) - {field.name for field in fields(Script)}
    if unknown:
        raise ValueError(f"x-script has no {', '.join(sorted(unknown))}")
    return Script(**plain)
