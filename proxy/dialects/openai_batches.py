"""OpenAI batches: a file of requests in, a file of answers out, hours later and at batch prices."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from pricing.tokens import Prompt
from proxy.dialects import BadBody, Batch, BatchEnd, Metered, Reading
from proxy.dialects.body import json_object, string_of, text
from proxy.dialects.openai_chat import category_in
from proxy.dialects.usage import read_usage
from proxy.meter import ChunkMeter

_ENDED = ("completed", "expired", "cancelled", "failed")
_FILE = re.compile(r"[A-Za-z0-9._-]{1,200}")
_TOKENS_ONLY = ("chat/completions", "completions", "embeddings")
_SEARCHES = "-search-"  # in the name of a model that is billed for its searches too


class Batches:
    """Also of Azure's and every other provider that speaks the same."""

    name = "batches"
    headers: tuple[tuple[str, str], ...] = ()

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        return Reading(
            model="",
            prompt=Prompt(body_bytes=len(body)),
            category=category_in(data),
            batch=Batch(text(data, "endpoint"), text(data, "input_file_id")),
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return body

    def meter(self, reading: Reading, *, withhold_usage: bool) -> ChunkMeter:
        return ChunkMeter(withhold_usage=False, text_of=lambda choice: "")

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        return Metered(provider_id=string_of(answer.get("id")), complete=True)

    def input_path(self, path: str, file_id: str) -> str:
        return _file(path, file_id)

    def inline(self, body: bytes, *, strict: bool) -> list[bytes]:
        return []

    def request(self, line: bytes, endpoint: str, *, strict: bool) -> tuple[str, bytes]:
        """A line may name a path of its own, and a provider may go by that."""
        data = json_object(line, strict=strict)
        body = data.get("body")
        if not isinstance(body, dict):
            raise BadBody('"body" must be an object', param="body")
        return text(data, "url") or endpoint, written_of(body)

    def end(self, answer: Mapping[str, Any], path: str) -> BatchEnd | None:
        status = answer.get("status")
        if status not in _ENDED:
            return None
        counts = answer.get("request_counts")
        told = counts.get("completed") if isinstance(counts, Mapping) else None
        names = (string_of(answer.get(name)) for name in ("output_file_id", "error_file_id"))
        files = tuple(_file(path, name) for name in names if name)
        checked = read_usage(answer.get("usage"))
        is_told = checked is not None and not checked.problems
        return BatchEnd(
            files=files,
            answered=told if type(told) is int else 0 if status == "failed" and not files else None,
            usage=checked.usage if checked is not None and is_told else None,
            is_whole=is_told and _is_billed_by_tokens(answer),
            served_model=string_of(answer.get("model")),
        )

    def answer(self, line: Mapping[str, Any]) -> Mapping[str, Any] | None:
        response = line.get("response")
        if not isinstance(response, Mapping):
            return None
        status = response.get("status_code")
        if type(status) is int and not 200 <= status < 300:
            return None
        body = response.get("body")
        return body if isinstance(body, Mapping) else {}


def written_of(body: dict[str, Any]) -> bytes:
    """As bytes again. Raises BadBody."""
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise BadBody("a request is nested too deeply, or holds half of a character") from error


def _file(path: str, file_id: str) -> str:
    """Beside the path of the batches; empty for an id that cannot stand in one."""
    if not _FILE.fullmatch(file_id) or not file_id.strip("."):
        return ""
    return f"{path.rpartition('/')[0]}/files/{file_id}/content"


def _is_billed_by_tokens(answer: Mapping[str, Any]) -> bool:
    """Searches stand in the answers alone."""
    endpoint = string_of(answer.get("endpoint")).lower().removeprefix("/v1").strip("/")
    return endpoint in _TOKENS_ONLY and _SEARCHES not in string_of(answer.get("model"))
