"""The category in a body's metadata, where its API has metadata."""

import json
from typing import Any

import pytest

from proxy.dialects.openai import DIALECT

BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "gpt-4o", "messages": []},
    "responses": {"model": "gpt-4o", "input": "hello"},
    "batches": {"endpoint": "/v1/chat/completions", "input_file_id": "file-1"},
}


def category(path: str, metadata: Any) -> str:
    api = DIALECT.surface("POST", f"/v1/{path}").api
    assert api is not None
    return api.read(json.dumps({**BODIES[path], "metadata": metadata}).encode()).category


@pytest.mark.parametrize("path", BODIES)
def test_the_metadata_of_a_body_names_the_category(path: str) -> None:
    assert category(path, {"category": "a", "other": "b"}) == "a"


@pytest.mark.parametrize("metadata", [None, {}, "a", ["category"], {"category": 7}, {"category": None}])
@pytest.mark.parametrize("path", BODIES)
def test_metadata_of_another_kind_names_none_and_is_its_providers_to_judge(path: str, metadata: Any) -> None:
    assert category(path, metadata) == ""
