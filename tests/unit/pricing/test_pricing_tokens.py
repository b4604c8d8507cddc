"""How many tokens a prompt is: as tiktoken counts, plus what stands around the text; never more than the bound."""

import pytest
import tiktoken

from pricing.tokens import (
    CHUNK_CHARS_MAX,
    COUNTED_BYTES_MAX,
    Counter,
    Image,
    Prompt,
    family_of,
    text_bytes,
)
from tests.unit.pricing.build import counter, encodings

UNCOUNTED = Counter({})


@pytest.fixture(scope="module")
def o200k() -> tiktoken.Encoding:
    return encodings()["o200k_base"]


def count(prompt: Prompt, model: str = "gpt-4o") -> int:
    return counter().count(prompt, model).tokens


TEXTS = [
    "",
    "The quick brown fox jumps over the lazy dog.",
    "Grüße aus Köln, 東京から, привет, مرحبا",
    "🧑‍🚀 emoji with joiners 👩‍👩‍👧‍👦",
    'def f(x):\n\treturn {"a": [1, 2.5e-3, None]}\r\n',
    "<|endoftext|> and <|im_start|>system",
    "    \n\n\t\t  ",
    "0123456789" * 20,
    "\x00\x01\x7f\ufeff",
    "\ud800 a lone half of a pair \udfff",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_counted_as_tiktoken_counts_it(text: str, o200k: tiktoken.Encoding) -> None:
    assert count(Prompt(texts=(text,))) == len(o200k.encode_ordinary(text))


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"),
        ("GPT-4o", "o200k_base"),
        ("models/gpt-4.1", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:acme::id", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
    ],
)
def test_each_model_counts_by_its_own_encoding(model: str, encoding: str) -> None:
    text = "こんにちは世界、今日はいい天気ですね"

    assert count(Prompt(texts=(text,)), model) == len(encodings()[encoding].encode_ordinary(text))


def test_the_encodings_differ_where_it_matters() -> None:
    text = Prompt(texts=("こんにちは世界",))

    assert count(text, "gpt-4o") < count(text, "gpt-4")


def test_control_words_in_a_text_are_text(o200k: tiktoken.Encoding) -> None:
    assert count(Prompt(texts=("<|endoftext|>",))) == len(o200k.encode_ordinary("<|endoftext|>")) > 1


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("text", "fewest", "most"),
    [
        ("a" * 1_000_000, 124_000, 126_000),
        (" " * 1_000_000, 7_000, 9_000),
        ("\n" * 1_000_000, 30_000, 63_000),
        ("!" * 1_000_000, 60_000, 126_000),
        ("\ud800" * 300_000, 30_000, 80_000),
        ("<|endoftext|>" * 70_000, 420_001, 420_013),
    ],
    ids=["letters", "spaces", "lines", "marks", "surrogates", "control words"],
)
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
def test_endless_runs_are_counted_like_any_text(text: str, fewest: int, most: int, model: str) -> None:
    """Such runs stall, or break, the tokeniser's regex engine when they are given to it in one piece."""
    assert fewest <= count(Prompt(texts=(text,)), model) <= most


def test_long_text_is_cut_where_the_cut_adds_nothing(o200k: tiktoken.Encoding) -> None:
    text = "some words that are cut before their spaces " * 4_000
    assert len(text) > 5 * CHUNK_CHARS_MAX

    assert count(Prompt(texts=(text,))) == len(o200k.encode_ordinary(text))


def test_more_text_than_is_counted_is_bounded_by_its_bytes() -> None:
    prompt = Prompt(texts=("word " * (COUNTED_BYTES_MAX // 5 + 1),))
    assert text_bytes(prompt) > COUNTED_BYTES_MAX

    assert counter().count(prompt, "gpt-4o") == counter().bound(prompt, "gpt-4o")


def test_without_encodings_every_count_is_the_bound() -> None:
    bounded = UNCOUNTED.count(Prompt(texts=("four score and seven",)), "gpt-4o")

    assert (bounded.tokens, bounded.tokens_max) == (5, 20)
    assert (bounded.exact, bounded.basis) == (False, "bytes")


def test_the_bound_is_of_bytes_not_of_characters() -> None:
    assert UNCOUNTED.bound(Prompt(texts=("漢字",)), "gpt-4o").tokens_max == 6
    assert UNCOUNTED.bound(Prompt(texts=("\ud800",)), "gpt-4o").tokens_max == 3


def test_an_empty_prompt_is_not_expected_to_be_nothing() -> None:
    assert UNCOUNTED.bound(Prompt(), "gpt-4o").tokens == 1


@pytest.mark.parametrize(
    ("model", "around"),
    [("gpt-4o", 2 * 3 + 1 + 3), ("gpt-3.5-turbo", 2 * 3 + 1 + 3), ("gpt-5", 2 * 4 + 1 + 3 + 16)],
)
def test_a_chat_has_tokens_around_each_message(model: str, around: int) -> None:
    texts = ("user", "hello there", "assistant", "hi")
    chat = Prompt(texts=texts, messages=2, named=1)

    assert count(chat, model) == count(Prompt(texts=texts), model) + around


def test_plain_text_has_nothing_around_it() -> None:
    assert count(Prompt(texts=("hello",))) == 1


def test_token_arrays_were_counted_by_the_caller() -> None:
    assert counter().count(Prompt(tokens=1_234), "text-embedding-3-small").tokens_max == 1_234


def test_tools_are_counted_with_what_stands_around_them() -> None:
    tool = '{"type":"function","function":{"name":"weather"}}'
    one = count(Prompt(texts=(tool,)))

    assert count(Prompt(tools=(tool,))) == one + 16 + 8
    assert count(Prompt(tools=(tool, tool))) == 2 * one + 16 + 2 * 8


def test_any_tool_brings_claude_its_hidden_prompt() -> None:
    assert UNCOUNTED.bound(Prompt(tools=("{}",)), "claude-opus-4-1").tokens_max == 4 + 16 + 8 + 600


def test_a_schema_is_counted_a_tenth_above_its_text() -> None:
    schema = '{"name":"answer","schema":{"type":"object","properties":{"n":{"type":"integer"}}}}'
    plain = count(Prompt(texts=(schema,)))

    assert count(Prompt(schema=schema)) == plain * 11 // 10 + 20


def test_an_attachment_is_bounded_by_its_bytes() -> None:
    assert counter().count(Prompt(attachment_bytes=5_000), "gpt-4o").tokens_max == 5_000


@pytest.mark.parametrize(
    ("prompt", "model", "exact"),
    [
        (Prompt(texts=("hi",), messages=1), "gpt-4o", True),
        (Prompt(texts=("hi",)), "text-embedding-3-small", True),
        (Prompt(texts=("hi",), messages=1), "gpt-5", False),
        (Prompt(texts=("hi",), tools=("{}",)), "gpt-4o", False),
        (Prompt(texts=("hi",), schema="{}"), "gpt-4o", False),
        (Prompt(texts=("hi",), images=(Image(),)), "gpt-4o", False),
        (Prompt(texts=("hi",), attachment_bytes=9), "gpt-4o", False),
        (Prompt(texts=("hi",)), "claude-sonnet-4-5", False),
    ],
)
def test_a_count_is_exact_only_where_the_makers_own_formula_covers_all_of_it(
    prompt: Prompt, model: str, exact: bool
) -> None:
    assert counter().count(prompt, model).exact is exact


@pytest.mark.parametrize(
    ("model", "likely", "safe"),
    [
        ("claude-sonnet-4-5-20250929", 125, 150),
        ("claude-sonnet-4-20250514", 125, 150),  # the date is no version 4.20
        ("claude-opus-4-1-20250805", 125, 150),
        ("claude-3-7-sonnet-20250219", 125, 150),
        ("claude-opus-4-7", 150, 200),
        ("claude-opus-4-10", 150, 200),
        ("us.anthropic.claude-opus-4-8-20260401-v1:0", 150, 200),
        ("claude-sonnet-5", 150, 200),
        ("models/gemini-2.5-pro", 116, 170),
        ("meta-llama/llama-3.3-70b", 100, 105),
        ("deepseek-chat", 103, 125),
        ("nobody-knows", 110, 150),
    ],
)
def test_makers_without_a_public_tokeniser_are_counted_with_a_margin(
    model: str, likely: int, safe: int
) -> None:
    family = family_of(model)

    assert (family.likely_percent, family.safe_percent) == (likely, safe)


def test_the_margin_is_on_the_count_and_told_with_it() -> None:
    text = "The margin stands on the tokens of the text. " * 20
    plain = count(Prompt(texts=(text,)), "gpt-4")

    counted = counter().count(Prompt(texts=(text,)), "claude-sonnet-4-5")

    assert (counted.tokens, counted.tokens_max) == (plain * 125 // 100, -(-plain * 150 // 100))
    assert counted.basis == "tiktoken cl100k_base x 150%"


def test_digits_count_one_by_one_where_the_maker_splits_them() -> None:
    """cl100k takes three digits at a time: the other two thirds are added."""
    counted = counter().count(Prompt(texts=("1" * 900,)), "gemini-2.5-pro")

    assert counted.tokens_max == 900  # (300 + 600) x 170 %, but never above one a byte
