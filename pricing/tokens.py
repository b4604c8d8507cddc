"""How many tokens a prompt is: counted by tiktoken, or bounded by its bytes where counting would take too long."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

CHUNK_CHARS_MAX = 32_768  # longer runs without a space can break the tokeniser's regex engine
COUNTED_BYTES_MAX = 4 << 20  # above that the byte bound stands
TURN_TOKENS = 3  # around each chat message
PRIMER_TOKENS = 3  # that open the answer
REASONING_TURN_TOKENS = 4
REASONING_PREAMBLE_TOKENS = 16
TOOLS_TOKENS = 16
TOOL_TOKENS = 8
CLAUDE_TOOLS_TOKENS = 600  # the hidden system prompt once any tool is there
SCHEMA_TOKENS = 20
IMAGE_TOKENS_UNKNOWN = 12_000  # the dearest documented picture of a model that nothing is known of
OUTSIDE_FEWER_TIMES = 2  # tokens of ours for one of somebody else's: beyond that theirs is taken for a fault
ATTACHMENT_BYTES_PER_TOKEN = 1  # audio and files: nothing tighter is safe


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a prompt. Its size is known only where it came with the body."""

    detail: str = "auto"
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a call gives the model to read. `hidden` tells of input that is not in the body: a previous response, a
    stored prompt, file ids, tools that run at the provider."""

    texts: tuple[str, ...] = ()
    messages: int = 0  # of a chat; 0: plain text without framing
    named: int = 0  # messages with a name
    tools: tuple[str, ...] = ()  # compact JSON of each
    schema: str = ""
    images: tuple[Image, ...] = ()
    tokens: int = 0  # given as token arrays: counted by the caller already
    hidden: bool = False
    attachment_bytes: int = 0  # audio, files: payload that is not in the texts
    body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TokenCount:
    """`tokens` is the likely figure, `tokens_max` one that the provider's own count should not pass."""

    tokens: int
    tokens_max: int
    exact: bool
    basis: str


class Encoder(Protocol):
    def encode_ordinary(self, text: str) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True)
class Family:
    """How a maker's models count. Factors are over the encoding's own count, in percent, from measured samples."""

    encoding: str
    likely_percent: int = 100
    safe_percent: int = 100
    digits: bool = False  # each digit is a token
    bound_percent: int = 100  # tokens per hundred bytes at most
    reasoning: bool = False
    documented: bool = False  # the chat formula is the provider's own


_FAMILIES = (
    (re.compile(r"^(ft:)?(gpt-4o|gpt-4\.1|chatgpt-4o)"), Family("o200k_base", documented=True)),
    (re.compile(r"^(ft:)?(gpt-5|gpt-6|o\d|codex|computer-use)"), Family("o200k_base", reasoning=True)),
    (re.compile(r"^(ft:)?(gpt-4|gpt-3\.5)"), Family("cl100k_base", documented=True)),
    (re.compile(r"^(text-embedding|davinci|babbage)"), Family("cl100k_base", documented=True)),
    (
        re.compile(r"claude-(opus|sonnet|haiku|fable|mythos)-(4[-.]([7-9]|\d\d)(?!\d)|[5-9])"),
        Family("cl100k_base", 150, 200, bound_percent=160),
    ),
    (re.compile(r"claude"), Family("cl100k_base", 125, 150, bound_percent=160)),
    (
        re.compile(r"gemini|gemma|qwen|mistral|mixtral|ministral|llama-?2"),
        Family("cl100k_base", 116, 170, digits=True),
    ),
    (re.compile(r"llama"), Family("cl100k_base", 100, 105)),
    (re.compile(r"kimi|deepseek|glm"), Family("cl100k_base", 103, 125)),
)
_UNKNOWN = Family("cl100k_base", 110, 150)

# Tokens of a picture: (base, per tile of 512 px, most tiles). The most stands where the size is unknown.
_TILES = (
    (re.compile(r"^gpt-4o-mini"), (2833, 5667, 8)),
    (re.compile(r"^(gpt-4o|gpt-4\.1$|gpt-4\.1-2|gpt-4\.5|gpt-4-)"), (85, 170, 8)),
    (re.compile(r"^gpt-5(\.1)?(-\d{4}|-chat|$)"), (70, 140, 8)),
    (re.compile(r"^o[13]"), (75, 150, 8)),
)
_PICTURES_MAX = (
    (
        re.compile(r"^(gpt-4\.1-mini|gpt-4\.1-nano|o4-mini|gpt-5-mini|gpt-5-nano)"),
        3_779,
    ),  # 1536 patches x 2.46
    (re.compile(r"claude-(opus|sonnet|haiku|fable|mythos)-(4[-.]([7-9]|\d\d)(?!\d)|[5-9])"), 4_784),
    (re.compile(r"claude"), 1_568),
)


class Counter:
    """Counts prompts. Safe to share between threads. Without encodings every count is the byte bound."""

    def __init__(self, encodings: Mapping[str, Encoder]) -> None:
        self._encodings = encodings

    def bound(self, prompt: Prompt, model: str) -> TokenCount:
        """From lengths alone, in microseconds: every token of a byte-level tokeniser covers at least one byte."""
        family = family_of(model)
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in _every_text(prompt))
        most = -(-size * family.bound_percent // 100) + _framing(prompt, family, model, safe=True)
        return TokenCount(max(1, size // 4), most, exact=False, basis="bytes")

    def count(self, prompt: Prompt, model: str) -> TokenCount:
        """By tiktoken. No text is refused: control words, lone surrogates and endless runs count like any other."""
        family = family_of(model)
        encoder = self._encodings.get(family.encoding)
        if encoder is None or text_bytes(prompt) > COUNTED_BYTES_MAX:
            return self.bound(prompt, model)
        counted = sum(_encoded(encoder, text) for text in prompt.texts)
        schema = _encoded(encoder, prompt.schema) * 11 // 10
        tools = sum(_encoded(encoder, tool) for tool in prompt.tools)
        digits = sum(sum(map(str.isdigit, text)) for text in prompt.texts) * 2 // 3 if family.digits else 0
        text_tokens = counted + schema + tools
        likely = text_tokens * family.likely_percent // 100 + _framing(prompt, family, model, safe=False)
        most = -(-(text_tokens + digits) * family.safe_percent // 100) + _framing(
            prompt, family, model, safe=True
        )
        ceiling = self.bound(prompt, model).tokens_max
        return TokenCount(
            min(likely, ceiling),
            min(max(most, likely), ceiling),
            exact=family.documented
            and not (prompt.tools or prompt.schema or prompt.images or prompt.attachment_bytes),
            basis=f"tiktoken {family.encoding}"
            + ("" if family.safe_percent == 100 else f" x {family.safe_percent}%"),
        )

    def counted_outside(
        self, prompt: Prompt, model: str, own: TokenCount, *, text_tokens: int, basis: str
    ) -> TokenCount | None:
        """A count of the texts by somebody else, beside our `own` of the same prompt: theirs is the likely figure, with
        our framing; the safe one is the larger of both. None where theirs cannot be right: more than the bytes, or so
        few that a call without usage would hardly be charged."""
        likely = text_tokens + _framing(prompt, family_of(model), model, safe=False)
        if likely > self.bound(prompt, model).tokens_max or likely * OUTSIDE_FEWER_TIMES < own.tokens:
            return None
        return TokenCount(likely, max(own.tokens_max, likely), exact=False, basis=basis)


def text_bytes(prompt: Prompt) -> int:
    """How much there is to encode: decides between counting at once and counting beside the loop."""
    return sum(len(text) for text in _every_text(prompt))


def family_of(model: str) -> Family:
    name = model.lower().removeprefix("models/")
    return next((family for pattern, family in _FAMILIES if pattern.search(name)), _UNKNOWN)


def _every_text(prompt: Prompt) -> Iterator[str]:
    yield from prompt.texts
    yield from prompt.tools
    yield prompt.schema


def _framing(prompt: Prompt, family: Family, model: str, *, safe: bool) -> int:
    """Everything that is not text: turns, names, tools, pictures, attachments, token arrays."""
    tokens = prompt.tokens
    if prompt.messages:
        turn = REASONING_TURN_TOKENS if family.reasoning else TURN_TOKENS
        tokens += prompt.messages * turn + prompt.named + PRIMER_TOKENS
        if family.reasoning:
            tokens += REASONING_PREAMBLE_TOKENS
    if prompt.tools:
        tokens += TOOLS_TOKENS + TOOL_TOKENS * len(prompt.tools)
        tokens += CLAUDE_TOOLS_TOKENS if family.bound_percent > 100 else 0
    if prompt.schema:
        tokens += SCHEMA_TOKENS
    tokens += sum(_picture(image, model, safe=safe) for image in prompt.images)
    return tokens + prompt.attachment_bytes // ATTACHMENT_BYTES_PER_TOKEN


def _picture(image: Image, model: str, *, safe: bool) -> int:
    for pattern, (base, tile, tiles_max) in _TILES:
        if pattern.search(model):
            if image.detail == "low":
                return base
            return base + tile * _tiles(image, tiles_max, safe=safe)
    return next((most for pattern, most in _PICTURES_MAX if pattern.search(model)), IMAGE_TOKENS_UNKNOWN)


def _tiles(image: Image, tiles_max: int, *, safe: bool) -> int:
    """512-pixel tiles after a fit into 2048 and a short side of 768. Sides are rounded up: a pixel over an edge
    is a tile more."""
    if not image.width or not image.height:
        return tiles_max if safe else 4
    width, height = image.width, image.height
    longest = max(width, height)
    if longest > 2048:
        width, height = -(-width * 2048 // longest), -(-height * 2048 // longest)
    shortest = max(1, min(width, height))
    if shortest > 768:
        width, height = -(-width * 768 // shortest), -(-height * 768 // shortest)
    return max(1, -(-width // 512)) * max(1, -(-height // 512))


def _encoded(encoder: Encoder, text: str) -> int:
    if len(text) <= CHUNK_CHARS_MAX:
        return len(encoder.encode_ordinary(text)) if text else 0
    return sum(len(encoder.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """Cut before a space where there is one: a cut can only add tokens, and there it adds none."""
    start = 0
    while start < len(text):
        end = start + CHUNK_CHARS_MAX
        if end < len(text):
            space = text.rfind(" ", start + 1, end)
            end = space if space > start else end
        yield text[start:end]
        start = end
