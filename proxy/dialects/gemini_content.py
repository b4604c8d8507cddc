"""Gemini content: the model in the path, contents of parts in the body, keys in either of two spellings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pricing.tokens import Image
from proxy.dialects import BadBody, Metered, Reading
from proxy.dialects.body import json_object, splice, text, value_of
from proxy.dialects.gemini_stream import GeminiMeter, metered_answer
from proxy.dialects.gemini_usage import tier_named
from proxy.dialects.likeness import turn_of
from proxy.dialects.prompt import HEADER_CHARS_MAX, Gathered, picture_size

TOKENS_MAX = 1 << 31
MEDIA_BYTES_PER_TOKEN = 200  # a likely figure only, of documents and films
CANDIDATES_MAX = 128
CONFIG, LIMIT, CANDIDATES = "generationConfig", "maxOutputTokens", "candidateCount"
_SCHEMAS = ("responseSchema", "responseJsonSchema")
_CALLS = (
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
_HUMP = re.compile(r"[A-Z]")
_WHOLE = re.compile(r"-?\d{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class GenerateContent:
    """Bound to what the path says: the body names neither the model nor whether it streams."""

    model: str
    stream: bool = False
    name = "generate_content"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        same_model(data, self.model)
        if given(data, "contents") is None:
            raise BadBody('"contents" must be a list', param="contents")
        gathered = Gathered(len(body))
        instruction = given(data, "systemInstruction")
        for one in ([] if instruction is None else [instruction]) + several(data, "contents"):
            gathered.messages += 1
            content(gathered, one)
        for tool in several(data, "tools"):
            _tool(gathered, tool)
        if given(data, "cachedContent"):
            gathered.hidden = True
        config = _config(data)
        for name in _SCHEMAS:
            schema = given(config, name)
            if schema is not None:
                gathered.format({"type": "json_schema", "json_schema": schema})
        limit = whole(config, LIMIT, least=0, most=TOKENS_MAX)
        return Reading(
            model=self.model,
            prompt=gathered.prompt(),
            stream=self.stream,
            json_stream=self.stream,
            choices=whole(config, CANDIDATES, least=0, most=CANDIDATES_MAX) or 1,
            output_tokens_max=limit or None,  # 0 is how "not set" may be written
            limit_names=() if limit is None else (spelled(config, LIMIT) or LIMIT,),
            service_tier=_tier(data),
            turn=turn_of(several(data, "contents"), instruction, body_bytes=len(body)),
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        """Untouched: the usage is always told."""
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        """The limit stands one level down. Only its own bytes change."""
        if reading.output_tokens_max is not None and reading.output_tokens_max <= cap:
            return body
        outer = next((name for name in _spellings(CONFIG) if value_of(body, name) is not None), CONFIG)
        config = value_of(body, outer) or b""
        if not config.startswith(b"{"):
            config = b"{}"
        inner = reading.limit_names[0] if reading.limit_names else LIMIT
        return splice(body, outer, splice(config, inner, str(cap).encode()))

    def meter(self, reading: Reading, *, withhold_usage: bool) -> GeminiMeter:
        return GeminiMeter(candidates=reading.choices, model=self.model)

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        return metered_answer(answer, self.model)


# -- keys in either spelling ------------------------------------------------------------------------------------------


def spelled(data: dict[str, Any], name: str) -> str | None:
    """How a key is spelled here, if it is here. Raises BadBody where it is here twice: which one counts is anyone's guess."""
    found = [spelling for spelling in _spellings(name) if spelling in data]
    if len(found) > 1:
        raise BadBody(
            f'the key "{name}" stands twice in one object, once as "{found[1]}"',
            param=name,
            code="duplicate_key",
        )
    return found[0] if found else None


def given(data: dict[str, Any], name: str) -> Any:
    """A key's value, in whichever spelling. None where it is absent or null."""
    spelling = spelled(data, name)
    return None if spelling is None else data[spelling]


def several(data: dict[str, Any], name: str) -> list[Any]:
    """A list; one object alone stands for a list of one."""
    value = given(data, name)
    if value is None:
        return []
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise BadBody(f'"{name}" must be a list', param=name)
    return value


def whole(data: dict[str, Any], name: str, *, least: int, most: int) -> int | None:
    """A whole number, which may be written as text or with a fraction of nothing: the API takes all of them."""
    value = given(data, name)
    if value is None:
        return None
    if (isinstance(value, str) and _WHOLE.fullmatch(value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadBody(f'"{name}" must be a whole number from {least} to {most}', param=name)
    return value


def _spellings(name: str) -> tuple[str, ...]:
    snake = _HUMP.sub(lambda hump: f"_{hump[0].lower()}", name)
    return (name,) if snake == name else (name, snake)


def model_named(resource: str) -> str:
    """`models/x`, or the same at the end of a longer name. Tuned models keep their prefix: it is part of their name."""
    return f"/{resource}".rpartition("/models/")[2].removeprefix("/")


def same_model(data: dict[str, Any], model: str) -> None:
    """The path names the model. A body that names another one could be read in two ways."""
    if not model:
        raise BadBody("the path names no model", param="model")
    named = text(data, "model")
    if named and model_named(named) != model:
        raise BadBody('"model" differs from the model in the path', param="model")


def _config(data: dict[str, Any]) -> dict[str, Any]:
    config = given(data, CONFIG)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise BadBody(f'"{CONFIG}" must be an object', param=CONFIG)
    return config


def _tier(data: dict[str, Any]) -> str:
    spelling = spelled(data, "serviceTier")
    return "" if spelling is None else tier_named(text(data, spelling))


# -- contents ---------------------------------------------------------------------------------------------------------


def content(gathered: Gathered, given_content: Any) -> None:
    """One turn, the system's instruction, or what is to be embedded."""
    if isinstance(given_content, str):
        gathered.texts.append(given_content)
        return
    if not isinstance(given_content, dict):
        return
    role = given_content.get("role")
    if isinstance(role, str):
        gathered.texts.append(role)
    for part in several(given_content, "parts"):
        _part(gathered, part)


def _part(gathered: Gathered, part: Any) -> None:
    """What is not known is counted as its JSON."""
    if isinstance(part, str):
        gathered.texts.append(part)
        return
    if not isinstance(part, dict):
        return
    is_known = False
    words = part.get("text")
    if isinstance(words, str):
        gathered.texts.append(words)
        is_known = True
    blob = given(part, "inlineData")
    if isinstance(blob, dict):
        _blob(gathered, blob)
        is_known = True
    if given(part, "fileData") is not None:
        gathered.hidden = True  # a file's address: what it holds is not in the body
        is_known = True
    for name in _CALLS:
        value = given(part, name)
        if value is not None:
            gathered.json(value)
            is_known = True
    signature = given(part, "thoughtSignature")
    if isinstance(signature, str):
        gathered.texts.append(signature)  # stands for thoughts that are read again
    if not is_known:
        gathered.json(part)


def _blob(gathered: Gathered, blob: dict[str, Any]) -> None:
    """Sound and text have no more tokens than bytes. What a document or a film holds, its length does not tell."""
    kind, data = given(blob, "mimeType"), blob.get("data")
    kind = kind.lower() if isinstance(kind, str) else ""
    data = data if isinstance(data, str) else ""
    size = len(data) * 3 // 4
    if kind.startswith("image/"):
        width, height = picture_size(f"data:{kind[:80]};base64,{data[:HEADER_CHARS_MAX]}")
        gathered.images.append(Image("auto", width, height))
    elif kind.startswith(("audio/", "text/")):
        gathered.attachment_bytes += size
    else:
        gathered.hidden = True
        gathered.tokens += size // MEDIA_BYTES_PER_TOKEN


def _tool(gathered: Gathered, tool: Any) -> None:
    """Functions are the caller's own and stand in the body. Every other tool runs at the provider and brings in what we
    cannot see."""
    if not isinstance(tool, dict):
        gathered.json(tool)
        return
    own = spelled(tool, "functionDeclarations")
    for declaration in several(tool, "functionDeclarations"):
        gathered.tool({"function": declaration})
    if any(value is not None for name, value in tool.items() if name != own):
        gathered.hidden = True
