"""What a peek into a message's request gives: everything that the model will read is counted, or told to be hidden."""

import base64
import json
import struct
from typing import Any

import pytest

from pricing.tokens import Image
from proxy.dialects import Reading
from proxy.dialects.anthropic_messages import Messages

API = Messages()
PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 640, 480) + b"\0" * 9
).decode()


def read(**more: Any) -> Reading:
    return API.read(json.dumps({"model": "m", "max_tokens": 10, "messages": [], **more}).encode())


def of_blocks(*blocks: Any) -> Reading:
    return read(messages=[{"role": "user", "content": list(blocks)}])


# -- what is asked for ----------------------------------------------------------------------------------------------


def test_everything_that_a_call_says_of_itself_is_read() -> None:
    reading = read(
        model="claude-sonnet-4-6",
        max_tokens=300,
        system="Be brief.",
        messages=[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
        stream=True,
        service_tier="standard_only",
        metadata={"user_id": "u-1"},
    )

    assert (reading.model, reading.stream, reading.user) == ("claude-sonnet-4-6", True, "u-1")
    assert (reading.output_tokens_max, reading.limit_names) == (300, ("max_tokens",))
    assert (reading.choices, reading.service_tier, reading.has_output) == (1, "standard_only", True)
    assert reading.prompt.texts == ("Be brief.", "user", "Hello", "assistant", "Hi")
    assert (reading.prompt.messages, reading.prompt.hidden) == (3, False)


def test_the_least_body_has_the_plainest_reading() -> None:
    reading = API.read(b'{"model":"m","messages":[]}')

    assert (reading.output_tokens_max, reading.limit_names, reading.stream) == (None, (), False)
    assert (reading.user, reading.service_tier, reading.prompt.messages) == ("", "", 0)


def test_fast_mode_is_a_tier_of_its_own() -> None:
    assert read(speed="fast", service_tier="auto").service_tier == "fast"
    assert read(speed="standard", service_tier="auto").service_tier == "auto"


@pytest.mark.parametrize(
    ("thinking", "most"),
    [
        ({"type": "enabled", "budget_tokens": 4096}, 4096),
        ({"type": "enabled", "budget_tokens": 1024}, 2000),
        ({"type": "adaptive"}, 2000),
        (None, 2000),
    ],
)
def test_thinking_may_take_its_whole_budget(thinking: Any, most: int) -> None:
    assert read(max_tokens=2000, thinking=thinking).output_tokens_max == most


# -- blocks ---------------------------------------------------------------------------------------------------------


def test_text_tool_calls_and_results_are_counted_wherever_they_stand() -> None:
    reading = read(
        system=[{"type": "text", "text": "in system", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "in text"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t1", "name": "find", "input": {"to": "in input"}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "in result"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "t2",
                        "content": [{"type": "text", "text": "in block of result"}],
                    },
                    {
                        "type": "document",
                        "title": "in title",
                        "context": "in context",
                        "source": {"type": "text", "media_type": "text/plain", "data": "in document"},
                    },
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [{"type": "text", "text": "in part"}]},
                    },
                    {"type": "search_result", "source": "s", "title": "t", "content": [{"text": "in hit"}]},
                    {"type": "not yet invented", "words": "in something new"},
                ],
            },
        ],
    )
    texts = "\n".join(reading.prompt.texts)

    for place in ("system", "text", "input", "result", "block of result", "title", "context", "document"):
        assert f"in {place}" in texts
    for place in ("part", "hit", "something new"):
        assert f"in {place}" in texts
    assert (reading.prompt.messages, reading.prompt.hidden) == (4, False)


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PNG}, (640, 480)),
        ({"type": "base64", "media_type": "image/png", "data": "no picture"}, (None, None)),
        ({"type": "url", "url": "https://example.org/a.png"}, (None, None)),
        ({"type": "file", "file_id": "file_1"}, (None, None)),
        ("nothing", (None, None)),
    ],
)
def test_a_picture_is_a_picture_and_not_its_base64(source: Any, size: tuple[int | None, int | None]) -> None:
    prompt = of_blocks({"type": "image", "source": source}).prompt

    assert prompt.images == (Image("auto", *size),)
    assert (prompt.texts, prompt.hidden) == (("user",), False)


def test_a_picture_in_a_tools_result_counts_too() -> None:
    picture = {"type": "image", "source": {"type": "base64", "data": PNG}}

    prompt = of_blocks({"type": "tool_result", "tool_use_id": "t", "content": [picture]}).prompt

    assert prompt.images == (Image("auto", 640, 480),)


@pytest.mark.parametrize(
    "block",
    [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
        },
        {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document"},
        {"type": "container_upload", "file_id": "file_1"},
    ],
)
def test_what_cannot_be_counted_from_the_body_is_hidden_input(block: dict[str, Any]) -> None:
    assert of_blocks(block).prompt.hidden


def test_thinking_of_earlier_turns_is_counted_with_what_its_signature_holds() -> None:
    prompt = of_blocks(
        {"type": "thinking", "thinking": "a summary", "signature": "x" * 400},
        {"type": "redacted_thinking", "data": "x" * 800},
    ).prompt

    assert "a summary" in prompt.texts
    assert prompt.tokens == 100 + 200


@pytest.mark.parametrize(
    "messages",
    [
        ["in hiding"],
        [{"role": "user", "content": {"type": "text", "text": "in hiding"}}],
        [{"role": "user", "content": [{"type": "text", "text": ["in hiding"]}]}],
        [{"role": "user", "content": [["in hiding"]]}],
        [{"role": "user", "content": ["in hiding"]}],
        [{"role": "user", "content": "", "note": "in hiding"}],
        [{"role": "user", "content": [{"type": "thinking", "thinking": {"text": "in hiding"}}]}],
        [{"role": "user", "content": [{"type": "document", "context": ["in hiding"]}]}],
        [{"role": "user", "content": [{"type": "tool_result", "content": {"text": "in hiding"}}]}],
    ],
)
def test_words_in_odd_places_are_counted(messages: Any) -> None:
    """Some providers that speak this API are less strict than Anthropic."""
    assert "in hiding" in "".join(read(messages=messages).prompt.texts)


def test_words_under_a_name_that_we_do_not_know_are_counted() -> None:
    assert "in hiding" in "".join(read(prefill={"text": "in hiding"}).prompt.texts)


# -- tools ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", [{}, {"type": "custom"}])
def test_a_tool_of_the_callers_own_is_counted(type_: dict[str, str]) -> None:
    tool = {"name": "find", "description": "Finds.", "input_schema": {"type": "object"}, **type_}

    prompt = read(tools=[tool]).prompt

    assert len(prompt.tools) == 1
    assert '"description":"Finds."' in prompt.tools[0]
    assert (prompt.hidden, prompt.tokens) == (False, 0)


@pytest.mark.parametrize(
    "kind", ["bash_20250124", "text_editor_20250728", "computer_20251124", "memory_20250818"]
)
def test_a_tool_of_anthropics_that_runs_at_the_caller_brings_its_instructions(kind: str) -> None:
    prompt = read(tools=[{"type": kind, "name": "it"}]).prompt

    assert (prompt.hidden, prompt.tokens) == (False, 1000)


@pytest.mark.parametrize(
    "kind",
    [
        "web_search_20250305",
        "web_fetch_20260318",
        "code_execution_20260521",
        "advisor_20260301",
        "computer_toolset_20260801",
        "new_1",
    ],
)
def test_a_tool_that_runs_at_the_provider_reads_what_we_cannot_see(kind: str) -> None:
    assert read(tools=[{"type": kind, "name": "it"}]).prompt.hidden


@pytest.mark.parametrize(
    ("more", "hidden"),
    [
        ({"container": {"id": "c", "skills": []}}, True),
        ({"mcp_servers": [{"type": "url", "url": "https://example.org"}]}, True),
        ({"mcp_servers": []}, False),
        ({"thread": {"id": "t"}}, True),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, True),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, False),
        ({"context_management": None}, False),
    ],
)
def test_what_brings_in_other_input_is_told(more: dict[str, Any], hidden: bool) -> None:
    assert read(**more).prompt.hidden is hidden


def test_a_schema_for_the_answer_is_counted() -> None:
    schema = {"type": "object", "properties": {"to": {"type": "string"}}}

    prompt = read(output_config={"format": {"type": "json_schema", "schema": schema}}).prompt

    assert '"properties"' in prompt.schema
