"""Anthropic message batches: requests in the body, results in a file of lines, within a day and at batch prices."""

from collections.abc import Mapping
from typing import Any

from pricing.tokens import Prompt
from proxy.dialects import BadBody, Batch, BatchEnd, Metered, Reading
from proxy.dialects.anthropic_stream import MessageMeter
from proxy.dialects.body import json_object, string_of
from proxy.dialects.openai_batches import written_of

VERSION = "2023-06-01"
ENDPOINT = "/v1/messages"


class MessageBatches:
    name = "message_batches"
    headers: tuple[tuple[str, str], ...] = (("anthropic-version", VERSION),)

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        """Only a look: `inline` reads the requests, which may be very many."""
        return Reading(model="", prompt=Prompt(body_bytes=len(body)), batch=Batch(ENDPOINT, body=body))

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return body

    def meter(self, reading: Reading, *, withhold_usage: bool) -> MessageMeter:
        return MessageMeter()

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        return Metered(provider_id=string_of(answer.get("id")), complete=True)

    def input_path(self, path: str, file_id: str) -> str:
        return ""

    def inline(self, body: bytes, *, strict: bool) -> list[bytes]:
        requests = json_object(body, strict=strict).get("requests")
        if not isinstance(requests, list) or not requests:
            raise BadBody('"requests" must be a list of requests', param="requests")
        return [written_of(request if isinstance(request, dict) else {}) for request in requests]

    def request(self, line: bytes, endpoint: str, *, strict: bool) -> tuple[str, bytes]:
        params = json_object(line, strict=strict).get("params")
        if not isinstance(params, dict):
            raise BadBody('"params" must be an object', param="params")
        return endpoint, written_of(params)

    def end(self, answer: Mapping[str, Any], path: str) -> BatchEnd | None:
        if answer.get("processing_status") != "ended":
            return None
        counts = answer.get("request_counts")
        told = counts.get("succeeded") if isinstance(counts, Mapping) else None
        return BatchEnd(
            files=(f"{path}/{string_of(answer.get('id'))}/results",),
            answered=told if type(told) is int else None,
        )

    def answer(self, line: Mapping[str, Any]) -> Mapping[str, Any] | None:
        result = line.get("result")
        if not isinstance(result, Mapping) or result.get("type") != "succeeded":
            return None
        message = result.get("message")
        return message if isinstance(message, Mapping) else {}
