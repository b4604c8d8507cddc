"""OpenAI legacy completions: a prompt or many, each billed for `best_of` answers."""

from collections.abc import Mapping
from typing import Any

from proxy.dialects import Metered, Reading
from proxy.dialects.body import count, flag, json_object, string_of, text
from proxy.dialects.openai_chat import (
    CHOICES_MAX,
    asks_usage,
    capped,
    force_usage,
    metered_choices,
    output_limit,
)
from proxy.dialects.prompt import Gathered, walk_prompts
from proxy.meter import ChunkMeter

LIMITS = ("max_tokens",)
OUTPUT_DEFAULT = 16  # documented: what the API writes when no limit is given


class Completions:
    name = "completions"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        gathered = Gathered(len(body))
        prompts = walk_prompts(gathered, data.get("prompt"))
        if isinstance(data.get("suffix"), str):
            gathered.texts.append(data["suffix"])
        limit, names = output_limit(data, LIMITS)
        if limit is None:
            limit = max([OUTPUT_DEFAULT, *(data[name] for name in names)])
        answers = count(data, "n", least=1, most=CHOICES_MAX) or 1
        best_of = count(data, "best_of", least=1, most=CHOICES_MAX) or 1
        return Reading(
            model=text(data, "model", required=True),
            prompt=gathered.prompt(),
            stream=flag(data, "stream"),
            choices=prompts * max(answers, best_of),
            output_tokens_max=limit,
            limit_names=names,
            batch_size=prompts,
            user=text(data, "user"),
            include_usage_asked=asks_usage(data),
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return force_usage(body, reading)

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return capped(body, reading, cap, default="max_tokens")

    def meter(self, reading: Reading, *, withhold_usage: bool) -> ChunkMeter:
        return ChunkMeter(withhold_usage=withhold_usage, text_of=_text)

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        return metered_choices(answer, _text)


def _text(choice: Mapping[str, Any]) -> str:
    return string_of(choice.get("text"))
