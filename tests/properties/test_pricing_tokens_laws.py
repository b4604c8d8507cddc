"""Laws of counting: no text breaks it, none is counted under tiktoken, and none above its bytes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.tokens import CHUNK_CHARS_MAX, Image, Prompt
from tests.unit.pricing.build import counter, encodings

law = settings(deadline=None)  # the machine may be busy with something else

MODELS = [
    "gpt-4o",
    "gpt-4",
    "gpt-5",
    "o3",
    "claude-sonnet-4-5",
    "claude-opus-4-7",
    "gemini-2.5-pro",
    "unknown",
]
CONTROL_WORDS = ["<|endoftext|>", "<|im_start|>", "<|endofprompt|>", "<|fim_prefix|>"]

any_text = st.text(
    st.characters(exclude_categories=[]), max_size=300
)  # lone surrogates and control characters too
texts = st.one_of(
    any_text,
    st.lists(st.sampled_from(CONTROL_WORDS) | any_text, max_size=6).map("".join),
    st.builds(lambda run, times: run * times, st.text(min_size=1, max_size=3), st.integers(1, 2_000)),
)
models = st.sampled_from(MODELS)
images = st.builds(
    Image,
    detail=st.sampled_from(["auto", "low", "high", "made up"]),
    width=st.none() | st.integers(0, 100_000),
    height=st.none() | st.integers(0, 100_000),
)
prompts = st.builds(
    Prompt,
    texts=st.lists(texts, max_size=3).map(tuple),
    messages=st.integers(0, 5),
    named=st.integers(0, 5),
    tools=st.lists(any_text, max_size=3).map(tuple),
    schema=any_text,
    images=st.lists(images, max_size=2).map(tuple),
    tokens=st.integers(0, 10_000),
    attachment_bytes=st.integers(0, 10_000),
)


def size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@law
@given(text=texts)
def test_an_openai_text_is_counted_as_tiktoken_counts_it(text: str) -> None:
    counted = counter().count(Prompt(texts=(text,)), "gpt-4o")

    exact = len(encodings()["o200k_base"].encode_ordinary(text))
    assert (counted.tokens, counted.tokens_max) == (exact, exact)


@law
@given(text=texts, model=models)
def test_the_bound_is_never_under_the_count(text: str, model: str) -> None:
    prompt = Prompt(texts=(text,))
    bound, counted = counter().bound(prompt, model), counter().count(prompt, model)
    plain = max(len(encoding.encode_ordinary(text)) for encoding in encodings().values())

    assert plain <= size(text) <= bound.tokens_max
    assert counted.tokens <= counted.tokens_max <= bound.tokens_max


@law
@given(prompt=prompts, model=models)
def test_what_is_likely_is_never_above_what_is_safe(prompt: Prompt, model: str) -> None:
    bound, counted = counter().bound(prompt, model), counter().count(prompt, model)

    assert 0 <= counted.tokens <= counted.tokens_max <= bound.tokens_max


@law
@given(prompt=prompts, model=models, more=texts)
def test_more_to_read_is_never_bounded_lower(prompt: Prompt, model: str, more: str) -> None:
    longer = Prompt(texts=(*prompt.texts, more), messages=prompt.messages, tokens=prompt.tokens)
    shorter = Prompt(texts=prompt.texts, messages=prompt.messages, tokens=prompt.tokens)

    assert counter().bound(longer, model).tokens_max >= counter().bound(shorter, model).tokens_max
    assert counter().count(longer, model).tokens >= counter().count(shorter, model).tokens


@settings(max_examples=25, deadline=None)
@given(
    word=st.text(min_size=1, max_size=12),
    gap=st.sampled_from(["", " ", "  ", "\n", ". "]),
    model=st.sampled_from(["gpt-4o", "gpt-4"]),
)
def test_a_text_that_is_counted_in_pieces_stays_within_its_bound(word: str, gap: str, model: str) -> None:
    """Pieces are cut before a space where there is one: a token or two more a piece, and no more."""
    text = (word + gap) * (3 * CHUNK_CHARS_MAX // len(word + gap))
    whole = len(encodings()["o200k_base" if model == "gpt-4o" else "cl100k_base"].encode_ordinary(text))
    pieces = len(text) // CHUNK_CHARS_MAX + 3

    counted = counter().count(Prompt(texts=(text,)), model).tokens

    assert whole - 3 * pieces <= counted <= min(size(text), whole + 3 * pieces)


@law
@given(prompts, models, st.integers(0, 100_000))
def test_a_count_from_outside_never_lowers_the_safe_figure_nor_passes_the_bytes(
    prompt: Prompt, model: str, text_tokens: int
) -> None:
    own = counter().count(prompt, model)

    found = counter().counted_outside(prompt, model, own, text_tokens=text_tokens, basis="outside")

    if found is not None:
        assert own.tokens_max <= found.tokens_max <= counter().bound(prompt, model).tokens_max
        assert own.tokens <= 2 * found.tokens <= 2 * found.tokens_max
