"""OpenAI chat completions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proxy.dialects import BadBody, Metered, Reading
from proxy.dialects.body import count, flag, json_object, listed, splice, string_of, text, value_of, written
from proxy.dialects.likeness import turn_of
from proxy.dialects.prompt import Gathered, compact
from proxy.dialects.usage import read_usage
from proxy.meter import ChunkMeter

TOKENS_MAX = 1 << 31
_SEARCHES = "-search-"  # in the name of a model that does nothing else
CHOICES_MAX = 128
LIMITS = ("max_completion_tokens", "max_tokens")
EVERY_LIMIT = (*LIMITS, "max_output_tokens")


class ChatCompletions:
    name = "chat"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        messages = data.get("messages")
        if not isinstance(messages, list):
            raise BadBody('"messages" must be a list', param="messages")
        gathered = Gathered(len(body))
        for message in messages:
            gathered.message(message)
        for tool in listed(data, "tools"):
            gathered.tool(tool)
        for function in listed(data, "functions"):
            gathered.tool({"type": "function", "function": function})
        gathered.format(data.get("response_format"))
        if data.get("web_search_options") is not None or _SEARCHES in str(data.get("model")).lower():
            gathered.hidden = True
        limit, names = output_limit(data, LIMITS)
        return Reading(
            model=text(data, "model", required=True),
            prompt=gathered.prompt(),
            stream=flag(data, "stream"),
            choices=count(data, "n", least=1, most=CHOICES_MAX) or 1,
            output_tokens_max=limit,
            output_tokens_beside=_predicted(data.get("prediction")),
            limit_names=names,
            user=_user(data),
            category=category_in(data),
            service_tier=text(data, "service_tier"),
            include_usage_asked=asks_usage(data),
            turn=turn_of(messages, body_bytes=len(body)),
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return force_usage(body, reading)

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return capped(body, reading, cap, default="max_completion_tokens")

    def meter(self, reading: Reading, *, withhold_usage: bool) -> ChunkMeter:
        return _ChatMeter(withhold_usage=withhold_usage, text_of=_delta_text)

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        return _searched(metered_choices(answer, _message_text))


class _ChatMeter(ChunkMeter):
    def result(self) -> Metered:
        return _searched(super().result())


def _searched(told: Metered) -> Metered:
    """Models that search for every answer are billed for it beside the tokens, and their usage does not tell."""
    if told.usage is None or told.usage.web_searches or _SEARCHES not in told.served_model:
        return told
    return replace(told, usage=replace(told.usage, web_searches=1))


def output_limit(data: dict[str, Any], names: tuple[str, ...]) -> tuple[int | None, tuple[str, ...]]:
    """The largest of the limits given, other APIs' names for it included: which of them a provider obeys is its own
    affair. None where `names` has none of them, or a 0: some providers take that for no limit."""
    given = {
        name: limit
        for name in EVERY_LIMIT
        if (limit := count(data, name, least=0, most=TOKENS_MAX)) is not None
    }
    own = [given[name] for name in names if name in given]
    return max(given.values()) if own and all(own) else None, tuple(given)


def category_in(data: dict[str, Any]) -> str:
    """Of the metadata, which callers fill as they like."""
    metadata = data.get("metadata")
    return string_of(metadata.get("category")) if isinstance(metadata, dict) else ""


def _predicted(prediction: Any) -> int:
    """Predicted tokens that the model rejects are billed as output: no more of them than bytes."""
    return 0 if prediction is None else len(compact(prediction).encode("utf-8", "replace"))


def asks_usage(data: dict[str, Any]) -> bool:
    options = data.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise BadBody('"stream_options" must be an object', param="stream_options")
    return options.get("include_usage") is True


def force_usage(body: bytes, reading: Reading) -> bytes:
    """`include_usage` into a streamed call that does not ask for it; its other stream options stay."""
    if not reading.stream or reading.include_usage_asked:
        return body
    return splice_usage(body)


def splice_usage(body: bytes) -> bytes:
    options = value_of(body, "stream_options")
    if options is None or not options.startswith(b"{"):
        options = b"{}"
    return splice(body, "stream_options", splice(options, "include_usage", b"true"))


def capped(body: bytes, reading: Reading, cap: int, *, default: str) -> bytes:
    """Every limit above the cap is lowered to it; a call that sets none gets one."""
    missing = reading.output_tokens_max is None or not reading.limit_names
    for name in (*reading.limit_names, *((default,) if missing else ())):
        given = value_of(body, name) or b""
        if not given.isdigit() or not 0 < int(given) <= cap:
            body = splice(body, name, str(cap).encode())
    return body


def metered_choices(answer: Mapping[str, Any], text_of: Any) -> Metered:
    """Of a whole answer with `choices`: usage, ids and, where the usage is missing, its text."""
    checked = read_usage(answer.get("usage"))
    missing = checked is None or bool(checked.problems)
    return Metered(
        usage=None if checked is None else checked.usage,
        suspect=checked is not None and bool(checked.problems),
        suspect_reason="" if checked is None else "; ".join(checked.problems),
        own_cost=None if checked is None else checked.own_cost.nanos,
        own_cost_problem="" if checked is None else checked.own_cost.problem,
        served_model=string_of(answer.get("model")),
        provider_id=string_of(answer.get("id")),
        service_tier=string_of(answer.get("service_tier")),
        complete=True,
        failed="error" in answer and answer["error"] is not None,
        output_text="".join(text_of(choice) for choice in _dicts(answer.get("choices"))) if missing else "",
    )


def _message_text(choice: Mapping[str, Any]) -> str:
    message = choice.get("message")
    return "" if not isinstance(message, Mapping) else text_of_message(message)


def _delta_text(choice: Mapping[str, Any]) -> str:
    delta = choice.get("delta")
    return "" if not isinstance(delta, Mapping) else text_of_message(delta)


def text_of_message(message: Mapping[str, Any]) -> str:
    """Everything that a model wrote into a message or a delta of one."""
    words = [
        string_of(message.get(name)) for name in ("content", "refusal", "reasoning_content", "reasoning")
    ]
    for call in _dicts(message.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, Mapping):
            words += [string_of(function.get("name")), string_of(function.get("arguments"))]
    return "".join(words)


def _user(data: dict[str, Any]) -> str:
    for name in ("safety_identifier", "user"):
        value = data.get(name)
        if isinstance(value, str) and value:
            return written(value)
    return ""


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
