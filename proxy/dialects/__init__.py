"""Wire APIs: what each of them lets us read of a request and of an answer. One file per API, no input or output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.resources import files
from typing import Literal, Protocol, runtime_checkable

from pricing.money import Nanos
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
class Media:
    """Of a call for pictures or sound. These are made as a whole and billed as a whole, whether or not anyone waits for
    them, and no limit in the call could be lowered. `likely` and `most` are what it consumes beside its text."""

    likely: Usage = field(default_factory=Usage)
    most: Usage = field(default_factory=Usage)
    output_expected: int = 0  # tokens of one choice
    sound_bytes_per_second: int = 0  # of an answer that is sound: no more than it has


@dataclass(frozen=True, slots=True)
class Batch:
    """Of a call that hands in many requests, to be done later. They stand in its body, or a line each in a file."""

    endpoint: str  # what they are for, as a path
    file_id: str = ""
    body: bytes = field(default=b"", repr=False)


Turn = Callable[[], tuple[str, ...]]
"""What was said since the model last spoke: see `dialects/likeness.py`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a peek into a request gives. The bytes themselves go on unread."""

    model: str
    prompt: Prompt
    stream: bool = False
    json_stream: bool = False  # the stream may come as a JSON array that grows, and not as events
    choices: int = 1  # answers that are billed
    output_tokens_max: int | None = None  # of one choice; None: the caller set no limit
    output_tokens_beside: int = 0  # that may be billed beyond that limit
    limit_names: tuple[str, ...] = ()  # the keys that set it
    batch_size: int = 1
    user: str = ""
    category: str = ""  # what the body itself says the call is for
    service_tier: str = ""
    include_usage_asked: bool = False
    background: bool = False
    has_output: bool = True
    media: Media | None = None
    batch: Batch | None = None
    turn: Turn | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Metered:
    """What an answer told. `output_text` is what passed of the answer itself, kept only until the usage is known."""

    usage: Usage | None = None
    final: bool = True  # False: output came after this usage, or with it, and the end of the answer did not
    suspect: bool = False
    suspect_reason: str = ""
    own_cost: Nanos | None = None  # that the provider says it charges
    own_cost_problem: str = ""  # why what it says cannot be true
    served_model: str = ""
    provider_id: str = ""
    service_tier: str = ""
    complete: bool = False  # its own end was seen
    failed: bool = False  # it told of an error
    readable: bool = True  # False: its coding could not be read, so nothing of the above means anything
    output_text: str = field(default="", repr=False)
    output_tokens_seen: int = 0  # what passed and was no text: pictures, sound


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


@runtime_checkable
class MediaApi(Api, Protocol):
    """An API of pictures or sound: bodies may be forms, answers may be no JSON, and are told by what was asked."""

    def read_form(self, body: bytes, content_type: str) -> Reading:
        """Of a multipart body; its content type names the boundary. Raises BadBody."""

    def meter_media(
        self,
        reading: Reading,
        answer: Mapping[str, object] | None,
        *,
        text: bytes,
        size_bytes: int,
        ended: bool,
    ) -> Metered:
        """Of a whole answer. `answer` is None where it is no JSON object; `text` is then how it begins. `ended`: it came
        to its end."""


@dataclass(frozen=True, slots=True)
class BatchEnd:
    """What a batch that has ended tells of itself."""

    files: tuple[
        str, ...
    ]  # of its results, as paths: a line for each request; empty: one that cannot be asked for
    answered: int | None  # requests that were done, and are billed; None: not told
    usage: Usage | None = None  # of them all
    is_whole: bool = False  # nothing but that usage is billed
    served_model: str = ""


@runtime_checkable
class BatchApi(Api, Protocol):
    """An API that takes many requests at once, and tells later what became of them."""

    headers: tuple[tuple[str, str], ...]  # that are wanted of whoever asks after a batch

    def input_path(self, path: str, file_id: str) -> str:
        """Where a file of requests is read, beside the path of the batches; empty where that cannot be told."""

    def inline(self, body: bytes, *, strict: bool) -> list[bytes]:
        """The requests that stand in the body itself. Raises BadBody."""

    def request(self, line: bytes, endpoint: str, *, strict: bool) -> tuple[str, bytes]:
        """Path and body of one request. Raises BadBody."""

    def end(self, answer: Mapping[str, object], path: str) -> BatchEnd | None:
        """Of a batch as its provider tells of it; the path is that of the batches. None: it goes on."""

    def answer(self, line: Mapping[str, object]) -> Mapping[str, object] | None:
        """The whole answer in one line of the results. None: the request failed, and costs nothing."""


def read_body(api: Api, body: bytes, content_type: str, *, strict: bool) -> Reading:
    """Raises BadBody."""
    if content_type[:10].lower() == "multipart/" and isinstance(api, MediaApi):
        return api.read_form(body, content_type)
    return api.read(body, strict=strict)


@dataclass(frozen=True, slots=True)
class Surface:
    """What a path is to us. Metered paths have an API; free ones cost nothing; the others may."""

    kind: Literal["metered", "free", "billable_unknown", "unknown"]
    operation: Operation = Operation.OTHER
    api: Api | None = None


class Dialect(Protocol):
    """A family of wire APIs with one way of naming paths, of signing requests and of telling errors."""

    name: str
    request_id_names: tuple[str, ...]  # headers beside X-Request-ID that its SDKs take a request's id from

    def surface(self, method: str, path: str) -> Surface: ...

    def credential(self, secret: str) -> tuple[tuple[str, str], ...]:
        """The headers that carry the provider's credential."""

    def refusal(
        self,
        *,
        status: int,
        message: str,
        kind: str,
        code: str,
        param: str | None,
        extra: Mapping[str, str | None],
    ) -> bytes:
        """An answer of ours, of that HTTP status, in the envelope that this family's SDKs understand."""


Check = Callable[[str, str, Mapping[str, str]], None]


def check_of(dialect: Dialect) -> Check | None:
    """What a dialect looks for in path, query and headers before anything else of a call is read, raising BadBody. Most
    have nothing to look for, and no `check`."""
    found: Check | None = getattr(dialect, "check", None)
    return found


_SHARED = ("body", "codings", "usage", "prompt", "media", "multipart", "likeness")


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
