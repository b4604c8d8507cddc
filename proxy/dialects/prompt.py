"""What a request gives the model to read: texts, tools, schemas and pictures of OpenAI-shaped bodies."""

import base64
import binascii
import struct
from typing import Any

import orjson

from pricing.tokens import Image, Prompt
from proxy.dialects import BadBody

HEADER_CHARS_MAX = 65_536  # of a picture's base64: its size stands near its start
_MESSAGE_KEYS = {"role", "name", "content", "refusal", "reasoning_content", "tool_calls", "function_call", "audio"} | {
    "tool_call_id", "id", "type", "status", "phase", "annotations",
}  # fmt: skip
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal", "summary_text")
_PICTURE_PARTS = ("image_url", "input_image", "image")
_HOSTED_TOOLS = ("function", "custom")  # every other kind runs at the provider and reads what we cannot see


class Gathered:
    """The parts of a prompt while a body is walked through."""

    def __init__(self, body_bytes: int) -> None:
        self.texts: list[str] = []
        self.tools: list[str] = []
        self.images: list[Image] = []
        self.schema = ""
        self.messages = 0
        self.named = 0
        self.tokens = 0
        self.hidden = False
        self.attachment_bytes = 0
        self._body_bytes = body_bytes

    def prompt(self) -> Prompt:
        return Prompt(
            texts=tuple(self.texts),
            messages=self.messages,
            named=self.named,
            tools=tuple(self.tools),
            schema=self.schema,
            images=tuple(self.images),
            tokens=self.tokens,
            hidden=self.hidden,
            attachment_bytes=self.attachment_bytes,
            body_bytes=self._body_bytes,
        )

    def message(self, message: Any) -> None:
        """One chat message: role, name, content, tool calls."""
        self.messages += 1
        if not isinstance(message, dict):
            self.part(message)
            return
        for name in ("role", "name", "content", "refusal", "reasoning_content"):
            value = message.get(name)
            if isinstance(value, str):
                self.texts.append(value)
        if message.get("name"):
            self.named += 1
        self.content(message.get("content"))
        for call in _list(message.get("tool_calls")):
            self.json(call)
        if message.get("function_call"):
            self.json(message["function_call"])
        if isinstance(message.get("audio"), dict):
            self.hidden = True  # the id of an earlier answer's audio
        for name in message.keys() - _MESSAGE_KEYS:
            self.json(message[name])  # some providers show the model more than OpenAI does

    def content(self, content: Any) -> None:
        for part in [content] if isinstance(content, dict) else _list(content):
            self.part(part)

    def part(self, part: Any) -> None:
        """One part of a message's content. What is not known is counted as its JSON."""
        if isinstance(part, str):
            self.texts.append(part)
            return
        if not isinstance(part, dict):
            self.json(part)
            return
        kind = part.get("type")
        if kind in _TEXT_PARTS:
            self.texts.append(_string(part.get("text") or part.get("refusal")))
        elif kind in _PICTURE_PARTS:
            self.picture(part)
        elif kind in ("input_audio", "audio"):
            self.attachment(part.get("input_audio") or part)
        elif kind in ("file", "input_file"):
            self.file(part.get("file") if isinstance(part.get("file"), dict) else part)
        else:
            self.json(part)

    def picture(self, part: dict[str, Any]) -> None:
        source = part.get("image_url")
        url = source.get("url") if isinstance(source, dict) else source
        detail = (source if isinstance(source, dict) else part).get("detail") or "auto"
        if part.get("file_id"):
            self.hidden = True
        width, height = picture_size(url) if isinstance(url, str) else (None, None)
        self.images.append(Image(_string(detail), width, height))

    def attachment(self, source: Any) -> None:
        data = source.get("data") if isinstance(source, dict) else None
        self.attachment_bytes += len(_string(data)) * 3 // 4

    def file(self, source: Any) -> None:
        if not isinstance(source, dict):
            return
        data = source.get("file_data")
        if isinstance(data, str):
            self.attachment_bytes += len(data) * 3 // 4
        self.hidden = True  # an id or an address; and what a compressed file holds, its length does not tell

    def tool(self, tool: Any) -> None:
        if isinstance(tool, dict) and tool.get("type", "function") not in _HOSTED_TOOLS:
            self.hidden = True
        self.tools.append(compact(tool))

    def json(self, value: Any) -> None:
        self.texts.append(compact(value))

    def format(self, value: Any) -> None:
        """A response format: only a JSON schema is read by the model."""
        if isinstance(value, dict) and value.get("type") == "json_schema":
            self.schema = compact(value.get("json_schema") or value)


def walk_prompts(gathered: Gathered, prompt: Any) -> int:
    """`prompt` of completions and `input` of embeddings: text, token arrays, or lists of either. Gives how many."""
    if isinstance(prompt, str):
        gathered.texts.append(prompt)
        return 1
    items = _list(prompt)
    if items and all(isinstance(item, int) for item in items):
        gathered.tokens += len(items)
        return 1
    for item in items:
        if isinstance(item, str):
            gathered.texts.append(item)
        elif isinstance(item, list) and all(isinstance(token, int) for token in item):
            gathered.tokens += len(item)
        else:
            gathered.part(item)
    if isinstance(prompt, dict):
        gathered.json(prompt)
    return max(1, len(items))


def picture_size(url: str) -> tuple[int | None, int | None]:
    """Width and height from the first bytes of a `data:` picture. An address is never asked. A GIF's are not told: its
    frames may be larger than the screen that its first bytes tell of."""
    head, comma, data = url[: HEADER_CHARS_MAX + 100].partition(",")
    if not comma or not head.startswith("data:") or "base64" not in head:
        return None, None
    usable = data[: len(data) // 4 * 4]
    try:
        raw = base64.b64decode(usable, validate=False)
    except (binascii.Error, ValueError):
        return None, None
    return next((size for read in (_png, _webp, _jpeg) if (size := read(raw)) is not None), (None, None))


Size = tuple[int | None, int | None]


def _png(raw: bytes) -> Size | None:
    if raw[:8] != b"\x89PNG\r\n\x1a\n" or raw[12:16] != b"IHDR" or len(raw) < 24:
        return None
    width, height = struct.unpack(">II", raw[16:24])
    return width, height


def _webp(raw: bytes) -> Size | None:
    if raw[:4] != b"RIFF" or raw[8:12] != b"WEBP" or len(raw) < 30:
        return None
    kind = raw[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(raw[24:27], "little"), 1 + int.from_bytes(raw[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind != b"VP8 ":
        return None
    width, height = struct.unpack("<HH", raw[26:30])
    return width & 0x3FFF, height & 0x3FFF


_JPEG_LENGTHLESS = {0x01, *range(0xD0, 0xDA), 0xFF}  # after these a length read is no length


def _jpeg(raw: bytes) -> Size | None:
    if raw[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker, length = raw[at + 1], int.from_bytes(raw[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return width, height
        if marker in _JPEG_LENGTHLESS:
            return None
        at += 2 + length
    return None


def compact(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        pass  # half a character, or deeper than orjson goes
    try:
        return str(value)
    except RecursionError as error:
        raise BadBody("the body is nested too deeply", code="invalid_json") from error


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
