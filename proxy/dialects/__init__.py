"""Wire APIs: what each of them lets us read of a request and of an answer. One file per API, no input or output."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.resources import files
from typing import Literal, Protocol

from pricing.tokens import Prompt
from pricing.usage import Usage
from rules.call import Operation


@dataclass(eq=False)
class BadBody(Exception):
    """A request that cannot be read as its path says: the caller's fault, told with the parameter."""

    message: str
    param: str | None = None
    code: str = "invalid_value"

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Reading:
    """What a peek into a request gives. The bytes themselves go on unread."""

    model: str
    prompt: Prompt
    stream: bool = False
    choices: int = 1  # answers that are billed
    output_tokens_max: int | None = None  # of one choice; None: the caller set no limit
    limit_names: tuple[str, ...] = ()  # the keys that set it
    batch_size: int = 1
    user: str = ""
    service_tier: str = ""
    include_usage_asked: bool = False
    background: bool = False
    has_output: bool = True


@dataclass(frozen=True, slots=True)
class Metered:
    """What an answer told. `output_text` is what passed of the answer itself, kept only until the usage is known."""

    usage: Usage | None = None
    final: bool = True  # False: output came after this usage, or with it, and the end of the answer did not
    suspect: bool = False
    suspect_reason: str = ""
    served_model: str = ""
    provider_id: str = ""
    service_tier: str = ""
    complete: bool = False  # its own end was seen
    failed: bool = False  # it told of an error
    readable: bool = True  # False: its coding could not be read, so nothing of the above means anything
    output_text: str = field(default="", repr=False)


class Meter(Protocol):
    """Reads one streamed answer as it passes."""

    def feed(self, piece: bytes) -> bytes:
        """What may be passed on now of everything fed so far."""

    def end(self) -> bytes:
        """What was still held back."""

    def result(self) -> Metered: ...


class Api(Protocol):
    """One wire API: chat completions, embeddings, ..."""

    name: str

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        """Raises BadBody. Strict: doubled keys are refused however long the body is."""

    def forward(self, body: bytes, reading: Reading) -> bytes:
        """The body with `include_usage` forced where that is needed; the very same object where it is not."""

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        """The body with a lower limit on its output."""

    def meter(self, reading: Reading, *, withhold_usage: bool) -> Meter: ...

    def meter_whole(self, answer: Mapping[str, object]) -> Metered:
        """Of a whole answer that was parsed as a JSON object."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What a path is to us. Metered paths have an API; free ones cost nothing; the others may."""

    kind: Literal["metered", "free", "billable_unknown", "unknown"]
    operation: Operation = Operation.OTHER
    api: Api | None = None


class Dialect(Protocol):
    """A family of wire APIs with one way of naming paths, of signing requests and of telling errors."""

    name: str

    def surface(self, method: str, path: str) -> Surface: ...

    def credential(self, secret: str) -> tuple[tuple[str, str], ...]:
        """The headers that carry the provider's credential."""

    def refusal(
        self, *, message: str, kind: str, code: str, param: str | None, extra: Mapping[str, str | None]
    ) -> bytes:
        """An answer of ours in the envelope that this family's SDKs understand."""


_SHARED = ("body", "usage", "prompt")


def names() -> list[str]:
    """The dialects there are: each is a module here with a `DIALECT`."""
    here = files("proxy.dialects")
    found = (each.name.removesuffix(".py") for each in here.iterdir() if each.name.endswith(".py"))
    return sorted(name for name in found if "_" not in name and name not in _SHARED)


def find(name: str) -> Dialect:
    """Raises KeyError with the choices for a name that is none."""
    if name not in names():
        raise KeyError(f'unknown dialect "{name}": choose one of {", ".join(names())}')
    dialect: Dialect = import_module(f"proxy.dialects.{name}").DIALECT
    return dialect
