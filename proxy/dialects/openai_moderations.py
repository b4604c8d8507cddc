"""OpenAI moderations: free, and still written down."""

from collections.abc import Mapping
from typing import Any

from proxy.dialects import Metered, Reading
from proxy.dialects.body import json_object, text
from proxy.dialects.openai_chat import metered_choices
from proxy.dialects.prompt import Gathered, walk_prompts
from proxy.meter import ChunkMeter

_DEFAULT = "omni-moderation-latest"


class Moderations:
    name = "moderations"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        gathered = Gathered(len(body))
        batch = walk_prompts(gathered, data.get("input"))
        return Reading(
            model=text(data, "model") or _DEFAULT,
            prompt=gathered.prompt(),
            batch_size=batch,
            has_output=False,
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return body

    def meter(self, reading: Reading, *, withhold_usage: bool) -> ChunkMeter:
        return ChunkMeter(withhold_usage=False, text_of=lambda choice: "")

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        return metered_choices(answer, lambda choice: "")
