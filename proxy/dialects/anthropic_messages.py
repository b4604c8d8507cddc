"""Anthropic messages: content blocks in, typed events out, the usage told at the start and again at the end."""

from collections.abc import Mapping
from typing import Any

from pricing.tokens import Image
from proxy.dialects import BadBody, Metered, Reading
from proxy.dialects.anthropic_stream import MessageMeter, text_of_block
from proxy.dialects.anthropic_usage import read_usage, tier_in, tier_of
from proxy.dialects.body import count, flag, json_object, listed, splice, string_of, text, value_of
from proxy.dialects.likeness import turn_of
from proxy.dialects.openai_chat import TOKENS_MAX, capped, output_limit
from proxy.dialects.prompt import HEADER_CHARS_MAX, Gathered, picture_size

LIMIT = "max_tokens"
THINKING_TOKENS_MIN = 1_024  # a smaller budget is refused by the provider
CLIENT_TOOL_TOKENS = 1_000  # of the instructions that come with a tool of Anthropic's own, at most
ENCRYPTED_CHARS_PER_TOKEN = 4  # of base64: three bytes of what was encrypted
PDF_BYTES_PER_TOKEN = 16  # a likely figure only: the whole context is held for a PDF
DEPTH_MAX = 8  # of blocks within blocks; what lies deeper is counted as its JSON

# Tools that run at the caller. Every other kind runs at the provider and reads what we cannot see, or stands for many.
_CLIENT_TOOLS = ("bash_", "text_editor_", "computer_2", "memory_")
# Of the body: read by name, or of no words to the model. What else stands there may be shown to it.
_KNOWN = frozenset(
    {"model", "messages", "system", "tools", "max_tokens", "stream", "thinking", "metadata", "service_tier"}
    | {"speed", "temperature", "top_k", "top_p", "stop_sequences", "tool_choice", "cache_control", "betas"}
    | {"output_config", "output_format", "context_management", "inference_geo", "diagnostics"}
)
_ELSEWHERE = ("container", "mcp_servers", "thread", "compaction")  # bring in input that is not in the body


class Messages:
    name = "messages"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        messages = data.get("messages")
        if not isinstance(messages, list):
            raise BadBody('"messages" must be a list', param="messages")
        limit, names = output_limit(data, (LIMIT,))
        budget = _thinking_budget(data)
        gathered = Gathered(len(body))
        _system(gathered, data.get("system"))
        for message in messages:
            _message(gathered, message)
        for tool in listed(data, "tools"):
            _tool(gathered, tool)
        _format(gathered, data)
        for name in data.keys() - _KNOWN:
            gathered.json(data[name])
        gathered.hidden = gathered.hidden or _reads_elsewhere(data)
        return Reading(
            model=text(data, "model", required=True),
            prompt=gathered.prompt(),
            stream=flag(data, "stream"),
            # Thinking between tool calls may take its whole budget, even where that is more than the limit.
            output_tokens_max=None if limit is None else max(limit, budget),
            limit_names=names,
            user=_user(data),
            service_tier=_tier(data),
            turn=turn_of(messages, data.get("system"), body_bytes=len(body)),
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        """Untouched: the usage is always told."""
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        """A budget for thinking must stay below the limit, or the provider refuses the call."""
        body = capped(body, reading, cap, default=LIMIT)
        thinking = value_of(body, "thinking") or b""
        budget = (value_of(thinking, "budget_tokens") or b"") if thinking.startswith(b"{") else b""
        if budget.isdigit() and int(budget) >= cap > THINKING_TOKENS_MIN:
            body = splice(body, "thinking", splice(thinking, "budget_tokens", str(cap - 1).encode()))
        return body

    def meter(self, reading: Reading, *, withhold_usage: bool) -> MessageMeter:
        return MessageMeter()

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        block = answer.get("usage")
        checked = read_usage(block)
        missing = checked is None or bool(checked.problems)
        return Metered(
            usage=None if checked is None else checked.usage,
            suspect=checked is not None and bool(checked.problems),
            suspect_reason="" if checked is None else "; ".join(checked.problems),
            served_model=string_of(answer.get("model")),
            provider_id=string_of(answer.get("id")),
            service_tier=tier_of(block),
            complete=True,
            failed=answer.get("type") == "error",
            output_text="".join(map(text_of_block, _list(answer.get("content")))) if missing else "",
        )


# -- the request ------------------------------------------------------------------------------------------------------


def _tier(data: dict[str, Any]) -> str:
    tier = "fast" if data.get("speed") == "fast" else text(data, "service_tier")
    return tier_in(tier, data.get("inference_geo"))


def _thinking_budget(data: dict[str, Any]) -> int:
    thinking = data.get("thinking")
    if thinking is None:
        return 0
    if not isinstance(thinking, dict):
        raise BadBody('"thinking" must be an object', param="thinking")
    return count(thinking, "budget_tokens", least=0, most=TOKENS_MAX) or 0


def _user(data: dict[str, Any]) -> str:
    metadata = data.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    return string_of(user)


def _format(gathered: Gathered, data: dict[str, Any]) -> None:
    config = data.get("output_config")
    for given in (config.get("format") if isinstance(config, dict) else None, data.get("output_format")):
        if isinstance(given, dict) and given.get("type") == "json_schema":
            gathered.format({"type": "json_schema", "json_schema": given})


def _reads_elsewhere(data: dict[str, Any]) -> bool:
    if any(data.get(name) for name in _ELSEWHERE):
        return True
    management = data.get("context_management")
    edits = _list(management.get("edits")) if isinstance(management, dict) else []
    # A compaction reads the whole context once more; the other edits only take something away.
    return any(isinstance(edit, dict) and string_of(edit.get("type")).startswith("compact") for edit in edits)


def _system(gathered: Gathered, system: Any) -> None:
    if system:
        gathered.messages += 1
        _content(gathered, system, DEPTH_MAX)


def _message(gathered: Gathered, message: Any) -> None:
    gathered.messages += 1
    if not isinstance(message, dict):
        gathered.json(message)
        return
    gathered.texts.append(string_of(message.get("role")))
    _content(gathered, message.get("content"), DEPTH_MAX)
    for name in message.keys() - {"role", "content"}:
        gathered.json(message[name])


def _content(gathered: Gathered, content: Any, depth: int) -> None:
    if isinstance(content, str):
        gathered.texts.append(content)
    elif isinstance(content, list):
        for block in content:
            _block(gathered, block, depth)
    elif content is not None:
        _block(gathered, content, depth)


def _block(gathered: Gathered, block: Any, depth: int) -> None:
    """One content block. What is not known is counted as its JSON."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text" and isinstance(block.get("text"), str):
        gathered.texts.append(block["text"])
    elif kind == "image":
        _image(gathered, block.get("source"))
    elif kind == "document" and depth:
        _document(gathered, block, depth)
    elif kind == "tool_result" and depth:
        gathered.texts.append(string_of(block.get("tool_use_id")))
        _content(gathered, block.get("content"), depth - 1)
    elif kind == "thinking":
        # The text may be a summary: what counts is kept encrypted in the signature.
        _content(gathered, block.get("thinking"), 0)
        gathered.tokens += len(string_of(block.get("signature"))) // ENCRYPTED_CHARS_PER_TOKEN
    elif kind == "redacted_thinking":
        gathered.tokens += len(string_of(block.get("data"))) // ENCRYPTED_CHARS_PER_TOKEN
    elif kind == "container_upload":
        gathered.hidden = True
    else:
        gathered.json(block)


def _image(gathered: Gathered, source: Any) -> None:
    """Of a picture behind an address or a file id only the size is unknown, and that is bounded."""
    data = source.get("data") if isinstance(source, dict) else None
    size = picture_size(f"data:;base64,{data[:HEADER_CHARS_MAX]}") if isinstance(data, str) else (None, None)
    gathered.images.append(Image("auto", *size))


def _document(gathered: Gathered, block: dict[str, Any], depth: int) -> None:
    _content(gathered, block.get("title"), 0)
    _content(gathered, block.get("context"), 0)
    given = block.get("source")
    source: dict[str, Any] = given if isinstance(given, dict) else {}
    kind = source.get("type")
    if kind == "text":
        _content(gathered, source.get("data"), 0)
    elif kind == "content":
        _content(gathered, source.get("content"), depth - 1)
    else:
        # A PDF's pages are read as pictures too, and a small file can hold many; or it is not in the body at all.
        data = source.get("data") if kind == "base64" else None
        gathered.tokens += len(string_of(data)) * 3 // 4 // PDF_BYTES_PER_TOKEN
        gathered.hidden = True


def _tool(gathered: Gathered, tool: Any) -> None:
    kind = string_of(tool.get("type")) if isinstance(tool, dict) else ""
    if kind.startswith(_CLIENT_TOOLS):
        gathered.tokens += CLIENT_TOOL_TOKENS
        tool = {**tool, "type": "custom"}
    elif not kind and isinstance(tool, dict):
        tool = {**tool, "type": "custom"}
    gathered.tool(tool)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
