"""Gemini embeddings: one content or many, input only. Its answers tell their usage seldom."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.dialects import Metered, Reading
from proxy.dialects.body import json_object
from proxy.dialects.gemini_content import content, given, same_model, several
from proxy.dialects.gemini_stream import GeminiMeter, metered_answer
from proxy.dialects.prompt import Gathered


@dataclass(frozen=True, slots=True)
class EmbedContent:
    model: str
    name = "embed_content"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        gathered = Gathered(len(body))
        same_model(data, self.model)
        requests = several(data, "requests") if given(data, "requests") is not None else [data]
        for request in requests:
            if isinstance(request, dict):
                same_model(request, self.model)
                for one in several(request, "content"):
                    content(gathered, one)
                title = given(request, "title")
                if isinstance(title, str):
                    gathered.texts.append(title)
        return Reading(
            model=self.model, prompt=gathered.prompt(), batch_size=max(1, len(requests)), has_output=False
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return body

    def meter(self, reading: Reading, *, withhold_usage: bool) -> GeminiMeter:
        return GeminiMeter(candidates=1, model=self.model)

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        return metered_answer(answer, self.model)
