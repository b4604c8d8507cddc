"""OpenAI responses: typed items in, typed events out, the usage inside the last event's response."""

from collections.abc import Mapping
from typing import Any

from proxy.dialects import Metered, Reading
from proxy.dialects.body import flag, json_object, listed, text, written
from proxy.dialects.openai_chat import capped, output_limit
from proxy.dialects.prompt import Gathered
from proxy.dialects.usage import read_usage
from proxy.meter import ResponseMeter

LIMITS = ("max_output_tokens",)
_ELSEWHERE = ("previous_response_id", "conversation", "prompt")  # input that is kept at the provider


class Responses:
    name = "responses"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        gathered = Gathered(len(body))
        if isinstance(data.get("instructions"), str):
            gathered.messages += 1
            gathered.texts.append(data["instructions"])
        _walk_input(gathered, data.get("input"))
        for tool in listed(data, "tools"):
            gathered.tool(tool)
        format_ = data.get("text")
        gathered.format(format_.get("format") if isinstance(format_, dict) else None)
        gathered.hidden = gathered.hidden or any(data.get(name) for name in _ELSEWHERE)
        limit, names = output_limit(data, LIMITS)
        return Reading(
            model=text(data, "model", required=True),
            prompt=gathered.prompt(),
            stream=flag(data, "stream"),
            output_tokens_max=limit,
            limit_names=names,
            user=text(data, "safety_identifier") or text(data, "user"),
            service_tier=text(data, "service_tier"),
            background=flag(data, "background"),
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return capped(body, reading, cap, default="max_output_tokens")

    def meter(self, reading: Reading, *, withhold_usage: bool) -> ResponseMeter:
        return ResponseMeter(self.meter_whole)

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        checked = read_usage(answer.get("usage"))
        missing = checked is None or bool(checked.problems)
        return Metered(
            usage=None if checked is None else checked.usage,
            suspect=checked is not None and bool(checked.problems),
            suspect_reason="" if checked is None else "; ".join(checked.problems),
            served_model=_string(answer.get("model")),
            provider_id=_string(answer.get("id")),
            service_tier=_string(answer.get("service_tier")),
            complete=answer.get("status") in ("completed", "incomplete", "failed", "cancelled", None),
            failed=answer.get("status") == "failed",
            output_text=_output_text(answer.get("output")) if missing else "",
        )


def _walk_input(gathered: Gathered, given: Any) -> None:
    if isinstance(given, str):
        gathered.messages += 1
        gathered.texts.append(given)
        return
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict) and ("role" in item or item.get("type") == "message"):
            gathered.message(item)
        elif isinstance(item, dict) and item.get("type") == "item_reference":
            gathered.hidden = True
        else:
            gathered.messages += 1
            gathered.part(item)


def _output_text(output: Any) -> str:
    words = []
    for item in output if isinstance(output, list) else ():
        if isinstance(item, Mapping):
            words += [_string(item.get("name")), _string(item.get("arguments"))]
            content = item.get("content")
            for part in content if isinstance(content, list) else ():
                if isinstance(part, Mapping):
                    words.append(_string(part.get("text") or part.get("refusal")))
    return "".join(words)


def _string(value: Any) -> str:
    return written(value) if isinstance(value, str) else ""
