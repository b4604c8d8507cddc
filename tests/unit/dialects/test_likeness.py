"""Which calls are alike, for repeat_calls: not those that only begin alike, and those of a loop whatever their ids."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.dialects import BadBody, Dialect, Reading, anthropic, gemini, likeness, openai
from proxy.dialects.likeness import END_CHARS, KEPT_BYTES_MAX, STEPS_MAX

Say = dict[str, Any]
READ_A = ("read_file", {"path": "a.py", "id": 7})
READ_B = ("read_file", {"path": "a.py", "id": 8})


class Chat:
    path = "/v1/chat/completions"
    dialect: Dialect = openai.DIALECT

    def user(self, text: str) -> list[Say]:
        return [{"role": "user", "content": text}]

    def model(self, text: str) -> list[Say]:
        return [{"role": "assistant", "content": text}]

    def calls(self, call_id: str, name: str, given: Say, text: str = "") -> list[Say]:
        function = {"name": name, "arguments": json.dumps(given)}
        call = {"id": call_id, "type": "function", "function": function}
        return [{"role": "assistant", "content": text or None, "tool_calls": [call]}]

    def result(self, call_id: str, text: str) -> list[Say]:
        return [{"role": "tool", "tool_call_id": call_id, "content": text}]

    def body(self, instructions: str, items: list[Say]) -> Say:
        return {"messages": [{"role": "system", "content": instructions}, *items]}


class Responses(Chat):
    path = "/v1/responses"

    def calls(self, call_id: str, name: str, given: Say, text: str = "") -> list[Say]:
        arguments = json.dumps(given)
        thought = {"type": "reasoning", "id": f"rs_{call_id}", "encrypted_content": call_id, "summary": []}
        call = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name}
        return [thought, *(self.model(text) if text else []), {**call, "arguments": arguments}]

    def result(self, call_id: str, text: str) -> list[Say]:
        return [{"type": "function_call_output", "call_id": call_id, "output": text}]

    def body(self, instructions: str, items: list[Say]) -> Say:
        return {"instructions": instructions, "input": items}


class Messages(Chat):
    path, dialect = "/v1/messages", anthropic.DIALECT

    def user(self, text: str) -> list[Say]:
        return [{"role": "user", "content": [{"type": "text", "text": text}]}]

    def calls(self, call_id: str, name: str, given: Say, text: str = "") -> list[Say]:
        words = [{"type": "thinking", "thinking": f"hm {call_id}", "signature": call_id}]
        words += [{"type": "text", "text": text}] if text else []
        call = {"type": "tool_use", "id": call_id, "name": name, "input": given}
        return [{"role": "assistant", "content": [*words, call]}]

    def result(self, call_id: str, text: str) -> list[Say]:
        mark = {"cache_control": {"type": "ephemeral"}} if call_id == "2" else {}
        return [
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": call_id, "content": text, **mark}],
            }
        ]

    def body(self, instructions: str, items: list[Say]) -> Say:
        return {"max_tokens": 9, "system": instructions, "messages": items}


class Gemini(Chat):
    path, dialect = "/v1beta/models/gpt-4o:generateContent", gemini.DIALECT

    def user(self, text: str) -> list[Say]:
        return [{"role": "user", "parts": [{"text": text}]}]

    def model(self, text: str) -> list[Say]:
        return [{"role": "model", "parts": [{"text": text}]}]

    def calls(self, call_id: str, name: str, given: Say, text: str = "") -> list[Say]:
        words = [{"text": text}] if text else []
        call = {"functionCall": {"id": call_id, "name": name, "args": given}, "thoughtSignature": call_id}
        return [{"role": "model", "parts": [*words, call]}]

    def result(self, call_id: str, text: str) -> list[Say]:
        given = {"id": call_id, "name": "f", "response": {"output": text}}
        return [{"role": "user", "parts": [{"functionResponse": given}]}]

    def body(self, instructions: str, items: list[Say]) -> Say:
        return {"systemInstruction": {"parts": [{"text": instructions}]}, "contents": items}


@pytest.fixture(params=[Chat, Responses, Messages, Gemini], ids=lambda kind: kind.__name__)
def api(request: pytest.FixtureRequest) -> Chat:
    kind: type[Chat] = request.param
    return kind()


def read(api: Chat, body: Say) -> Reading:
    surface = api.dialect.surface("POST", api.path)
    assert surface.api is not None
    model = {} if isinstance(api, Gemini) else {"model": "gpt-4o"}
    return surface.api.read(json.dumps({**model, **body}).encode())


def of(api: Chat, *items: Say, instructions: str = "be brief") -> bytes:
    told = likeness.likeness(read(api, api.body(instructions, list(items))))
    assert told is not None
    return told


def test_the_same_call_repeats(api: Chat) -> None:
    assert of(api, *api.user("hello")) == of(api, *api.user("hello"))
    assert b"hello" in of(api, *api.user("hello"))


def test_an_agent_that_sends_its_whole_prefix_again_repeats_nothing(api: Chat) -> None:
    turns, seen = api.user("fix the bug"), list[bytes]()
    for n in range(20):
        seen.append(of(api, *turns))
        turns = [*turns, *api.calls(f"{n}", "read_file", {"line": n}), *api.result(f"{n}", f"line {n}")]

    assert len(set(seen)) == 20


def test_an_agent_that_gets_the_same_answer_from_other_tool_calls_repeats_nothing(api: Chat) -> None:
    start = api.user("fix the bug")

    first = of(api, *start, *api.calls("1", *READ_A), *api.result("1", "OK"))
    second = of(api, *start, *api.calls("2", *READ_B), *api.result("2", "OK"))

    assert first != second


def test_an_agent_that_makes_the_same_tool_call_with_the_same_result_repeats(api: Chat) -> None:
    """Under new ids, with other words beside it, and with all that came before."""
    start = api.user("fix the bug")
    once = [*start, *api.calls("1", *READ_A, text="Let me look."), *api.result("1", "not found")]
    twice = [*once, *api.calls("2", *READ_A, text="Let me look again."), *api.result("2", "not found")]

    assert of(api, *once) == of(api, *twice)


def test_the_same_tool_call_with_another_result_repeats_nothing(api: Chat) -> None:
    first = of(api, *api.calls("1", *READ_A), *api.result("1", "running"))

    assert first != of(api, *api.calls("2", *READ_A), *api.result("2", "done"))


def test_results_of_several_tool_calls_all_count_towards_what_repeats(api: Chat) -> None:
    def both(result: str) -> bytes:
        asked = [*api.calls("1", *READ_A), *api.calls("2", *READ_B)]
        return of(api, *asked, *api.result("1", result), *api.result("2", "same"))

    assert both("one") != both("other")


def test_go_on_after_another_answer_repeats_nothing(api: Chat) -> None:
    """Many people say yes in many conversations, and harnesses tell their models to go on."""
    first = of(api, *api.user("hi"), *api.model("Shall I?"), *api.user("yes"))
    second = of(api, *api.user("hi"), *api.model("Really?"), *api.user("yes"))
    again = of(api, *api.user("ho"), *api.model("Really?"), *api.user("yes"))

    assert first != second == again


def test_one_question_about_other_instructions_repeats_nothing(api: Chat) -> None:
    first = of(api, *api.user("sum it up"), instructions="text one")

    assert first != of(api, *api.user("sum it up"), instructions="text two")


def test_the_same_words_to_another_model_repeat_nothing() -> None:
    api = Chat()
    body = api.body("be brief", api.user("hello"))

    assert likeness.likeness(read(api, {**body, "model": "other"})) != likeness.likeness(read(api, body))


def test_another_picture_with_the_same_question_repeats_nothing() -> None:
    def about(picture: str) -> bytes:
        url = {"url": f"data:image/png;base64,{picture}"}
        parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": url}]
        return of(Chat(), {"role": "user", "content": parts})

    assert about("A" * 9_000 + "x" + "B" * 5_000) != about("A" * 9_000 + "x" + "B" * 4_999 + "C")


def test_an_answer_that_goes_on_elsewhere_repeats_only_after_the_same_one() -> None:
    def after(response_id: str) -> bytes | None:
        return likeness.likeness(read(Responses(), {"input": "yes", "previous_response_id": response_id}))

    assert after("resp_1") == after("resp_1") != after("resp_2")


def test_what_repeats_is_told_by_its_beginning_its_end_and_its_length(api: Chat) -> None:
    middle = "m" * 10_000

    def of_text(text: str) -> bytes:
        return of(api, *api.model("ok"), *api.user(text))

    assert of_text(f"a{middle}b") != of_text(f"c{middle}b")
    assert of_text(f"a{middle}b") != of_text(f"a{middle}c")
    assert of_text(f"a{middle}b") != of_text(f"a{middle}mb")
    assert len(of_text(f"a{middle}b")) < 2 * END_CHARS + 500


def test_of_a_long_body_nothing_is_kept_to_tell_repeats_by(api: Chat) -> None:
    long = [*api.user("x" * KEPT_BYTES_MAX), *api.model("ok"), *api.user("go on")]
    short = [*api.user("x"), *api.model("ok"), *api.user("go on")]

    turns = [read(api, api.body("", items)).turn for items in (long, short)]

    assert turns[0] is not None
    assert turns[1] is not None
    assert turns[0]() == turns[1]()
    assert [getattr(turn, "args", None) is None for turn in turns] == [True, False]


@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_looked_at_to_tell_repeats_is_bounded(backwards: bool) -> None:
    many = {f"k{n}": ["", [n] * 3] for n in range(100_000)}
    deep: Any = "end"
    for _ in range(500):
        deep = [deep]

    for value in (many, [many] * 3, [""] * 100_000, deep, {"a": deep}):
        taken, whole = likeness._taken([value], backwards=backwards)
        assert not whole
        assert len(taken) <= STEPS_MAX


def hostile(make: Callable[[Any], Say]) -> list[Say]:
    values: list[Any] = [None, 1, True, "x", [], {}, [[]], [None], {"type": 1}, {"role": ["user"]}]
    values += [{"role": "assistant", "content": {"a": 1}, "tool_calls": 3}, {"type": "x_call", "parts": "p"}]
    return [make(value) for value in values]


@pytest.mark.parametrize("body", hostile(lambda value: {"messages": [value, value], "max_tokens": 1}))
def test_odd_messages_repeat_without_a_fault(body: Say) -> None:
    for api in (Chat(), Messages()):
        first, second = (likeness.likeness(read(api, body)) for _ in range(2))
        assert first == second


@pytest.mark.parametrize("body", hostile(lambda value: {"input": value, "contents": [value]}))
def test_odd_items_repeat_without_a_fault(body: Say) -> None:
    for api in (Responses(), Gemini()):
        try:
            first, second = (likeness.likeness(read(api, body)) for _ in range(2))
        except BadBody:
            continue
        assert first == second


def test_half_a_character_repeats_without_a_fault() -> None:
    surface = openai.DIALECT.surface("POST", "/v1/chat/completions")
    assert surface.api is not None
    reading = surface.api.read(rb'{"model": "m", "messages": [{"role": "user", "content": "\ud800"}]}')

    assert likeness.likeness(reading) is not None


def test_embeddings_never_repeat() -> None:
    surface = openai.DIALECT.surface("POST", "/v1/embeddings")
    assert surface.api is not None

    assert likeness.likeness(surface.api.read(b'{"model": "m", "input": "x"}')) is None
