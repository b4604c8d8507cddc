"""OpenAI responses: typed items in, typed events out, the usage inside the last event's response."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pricing.usage import Usage
from proxy.dialects import Metered, Reading, Turn
from proxy.dialects.body import flag, json_object, listed, string_of, text
from proxy.dialects.likeness import turn_of
from proxy.dialects.openai_chat import capped, category_in, output_limit
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
        if data.get("instructions"):
            gathered.messages += 1
            gathered.part(data["instructions"])
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
            category=category_in(data),
            service_tier=text(data, "service_tier"),
            background=flag(data, "background"),
            turn=_turn(data, len(body)),
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
            usage=None if checked is None else _searched(checked.usage, answer.get("output")),
            suspect=checked is not None and bool(checked.problems),
            suspect_reason="" if checked is None else "; ".join(checked.problems),
            own_cost=None if checked is None else checked.own_cost.nanos,
            own_cost_problem="" if checked is None else checked.own_cost.problem,
            served_model=string_of(answer.get("model")),
            provider_id=string_of(answer.get("id")),
            service_tier=string_of(answer.get("service_tier")),
            complete=answer.get("status") in ("completed", "incomplete", "failed", "cancelled", None),
            failed=answer.get("status") == "failed",
            output_text=_output_text(answer.get("output")) if missing else "",
        )


def _turn(data: dict[str, Any], body_bytes: int) -> Turn:
    given = data.get("input")
    items = given if isinstance(given, list) else [given] if given else []
    before = (data.get(name) for name in ("instructions", *_ELSEWHERE))
    return turn_of(items, *before, body_bytes=body_bytes)


def _walk_input(gathered: Gathered, given: Any) -> None:
    if isinstance(given, str):
        gathered.messages += 1
        gathered.texts.append(given)
        return
    for item in given if isinstance(given, list) else (given,) if given else ():
        if isinstance(item, dict) and ("role" in item or item.get("type") == "message"):
            gathered.message(item)
        elif isinstance(item, dict) and item.get("type") in ("item_reference", None):
            gathered.hidden = True  # a type that is not told is a reference's too
        else:
            gathered.messages += 1
            gathered.part(item)
            _walk_output(gathered, item.get("output") if isinstance(item, dict) else None)


def _walk_output(gathered: Gathered, output: Any) -> None:
    """What a tool gave back may hold pictures and files. Its text stands with its item's already."""
    for part in output if isinstance(output, list) else (output,):
        if isinstance(part, dict) and ("file_id" in part or part.get("type") == "input_file"):
            gathered.hidden = True
        if isinstance(part, dict) and "image_url" in part:
            gathered.picture(part)


def _searched(usage: Usage, output: Any) -> Usage:
    """Searches are billed each, beside the tokens, and only the output tells of them."""
    items = [item for item in output if isinstance(item, Mapping)] if isinstance(output, list) else []
    acts = [item.get("action") for item in items if item.get("type") == "web_search_call"]
    searches = sum(not isinstance(act, Mapping) or act.get("type", "search") == "search" for act in acts)
    files = sum(item.get("type") == "file_search_call" for item in items)
    return replace(usage, web_searches=searches, file_searches=files)


def _output_text(output: Any) -> str:
    words = []
    for item in output if isinstance(output, list) else ():
        if isinstance(item, Mapping):
            words += [string_of(item.get("name")), string_of(item.get("arguments"))]
            content = item.get("content")
            for part in content if isinstance(content, list) else ():
                if isinstance(part, Mapping):
                    words.append(string_of(part.get("text") or part.get("refusal")))
    return "".join(words)
