"""OpenAI embeddings: input only, one text or many."""

from collections.abc import Mapping
from typing import Any

from proxy.dialects import Metered, Reading
from proxy.dialects.body import json_object, text
from proxy.dialects.openai_chat import metered_choices
from proxy.dialects.prompt import Gathered, walk_prompts
from proxy.meter import ChunkMeter


class Embeddings:
    name = "embeddings"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        gathered = Gathered(len(body))
        batch = walk_prompts(gathered, data.get("input"))
        return Reading(
            model=text(data, "model", required=True),
            prompt=gathered.prompt(),
            batch_size=batch,
            user=text(data, "user"),
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
