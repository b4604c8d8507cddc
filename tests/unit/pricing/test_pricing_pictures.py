"""How many tokens a picture is: by its size, its detail and the model; the most it may be where the size is unknown."""

import pytest

from pricing.tokens import IMAGE_TOKENS_UNKNOWN, Counter, Image, Prompt
from tests.unit.pricing.build import counter

UNCOUNTED = Counter({})


def picture(image: Image, model: str) -> int:
    return UNCOUNTED.bound(Prompt(images=(image,)), model).tokens_max


@pytest.mark.parametrize(
    ("model", "image", "tokens"),
    [
        ("gpt-4o", Image("high", 1024, 1024), 85 + 4 * 170),
        ("gpt-4o", Image("high", 2048, 4096), 85 + 6 * 170),
        ("gpt-4o", Image("high", 512, 512), 85 + 170),
        ("gpt-4o", Image("high", 513, 512), 85 + 2 * 170),
        ("gpt-4o", Image("high", 751, 3000), 85 + 8 * 170),  # 512.7 wide once it fits: two tiles, not one
        ("gpt-4o", Image("high", 1, 100_000), 85 + 4 * 170),
        ("gpt-4o", Image("low", 4096, 4096), 85),
        ("gpt-4o", Image("auto"), 85 + 8 * 170),
        ("gpt-4o-mini", Image("high", 512, 512), 2833 + 5667),
        ("gpt-4o-mini", Image("low"), 2833),
        ("gpt-5", Image("high", 1024, 1024), 70 + 4 * 140),
        ("o1", Image("high", 1024, 1024), 75 + 4 * 150),
        ("gpt-5-mini", Image("high", 1024, 1024), 3_779),
        ("claude-sonnet-4-5", Image(), 1_568),
        ("claude-opus-4-7", Image(), 4_784),
        ("somebody/else", Image("low", 1, 1), IMAGE_TOKENS_UNKNOWN),
    ],
)
def test_a_picture_is_counted_by_its_size_and_the_model(model: str, image: Image, tokens: int) -> None:
    assert picture(image, model) == tokens


def test_a_picture_of_unknown_size_is_expected_smaller_than_it_may_be() -> None:
    counted = counter().count(Prompt(images=(Image(),)), "gpt-4o")

    assert (counted.tokens, counted.tokens_max) == (85 + 4 * 170, 85 + 8 * 170)


def test_pictures_add_up() -> None:
    one, other = Image("high", 512, 512), Image("low")

    assert UNCOUNTED.bound(Prompt(images=(one, other)), "gpt-4o").tokens_max == 85 + 170 + 85
