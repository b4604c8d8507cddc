"""The forms in which clients write names, and which entry a name means where several would take it."""

from collections.abc import Callable

import pytest

from pricing.book import Entry, PriceBook, by_name_only
from pricing.catalog.match import matcher
from pricing.names import forms, without_dots
from tests.unit.pricing.build import TODAY, price

STARTS_WITH_M = matcher({"starts_with": "m-"})


@pytest.mark.parametrize(
    ("provider", "name", "expected"),
    [
        ("openai", "gpt-4o", ["gpt-4o"]),
        ("openai", "openai/gpt-4o", ["openai/gpt-4o", "gpt-4o"]),
        ("openai", "models/gpt-4o-20240513", ["models/gpt-4o-20240513", "gpt-4o-20240513", "gpt-4o-2024-05-13", "gpt-4o"]),
        ("openai", "gpt-4o@2024-05-13", ["gpt-4o@2024-05-13", "gpt-4o"]),
        ("openai", "gpt-4o-20241399", ["gpt-4o-20241399"]),  # no such month
        ("openai", "gpt-4o:nitro", ["gpt-4o:nitro"]),
        ("openrouter", "openai/gpt-4o:nitro", ["openai/gpt-4o:nitro", "openai/gpt-4o"]),
        ("openrouter", "openai/gpt-4o:extended", ["openai/gpt-4o:extended"]),
        ("openai", "ft:gpt-4o-2024-08-06:a::x", ["ft:gpt-4o-2024-08-06:a::x", "ft:gpt-4o-2024-08-06", "ft:gpt-4o"]),
        ("openai", "", [""]),
    ],
)  # fmt: skip
def test_a_name_is_tried_as_it_came_and_then_in_ever_plainer_forms(
    provider: str, name: str, expected: list[str]
) -> None:
    assert forms(provider, name) == expected


def test_a_fine_tuned_name_never_becomes_that_of_its_base() -> None:
    assert all(form.startswith("ft:") for form in forms("openai", "ft:gpt-4.1-2025-04-14:acme::id"))


def test_names_without_dots() -> None:
    assert without_dots("gpt-3.5-turbo") == "gpt-35-turbo"


def made(model: str, matches: Callable[[str], bool] = by_name_only, names: tuple[str, ...] = ()) -> Entry:
    return Entry("maker", model, matches, ((TODAY, price(model=model)),), names)


@pytest.mark.parametrize(
    ("entries", "meant"),
    [
        ([made("wide", STARTS_WITH_M), made("m-1")], "m-1"),  # its own id, wherever it stands
        (
            [made("wide", STARTS_WITH_M), made("named", names=("m-1",))],
            "wide",
        ),  # else the first that takes it
        ([made("named", names=("m-1",)), made("wide", STARTS_WITH_M)], "named"),
        ([made("one", names=("m-1",)), made("two", names=("m-1",))], "one"),
        ([made("one", STARTS_WITH_M), made("two", STARTS_WITH_M)], "one"),
        ([made("one", names=("m-2",)), made("two")], None),
    ],
)
def test_of_several_entries_that_take_a_name_the_first_is_meant_unless_one_is_called_so(
    entries: list[Entry], meant: str | None
) -> None:
    found = PriceBook(entries).find("maker", "M-1", TODAY)

    assert (None if found is None else found.model) == meant
