"""Which model a name means: here, and to another engine. Where the two differ, the forms stand below."""

from collections.abc import Iterator
from typing import Any

import pytest
from genai_prices import data

from tests.oracle.genai import UNKNOWN_HERE
from tests.unit.pricing.build import BOOK, TODAY

PROVIDERS = {provider.id: provider for provider in data.providers}

# Name -> (their model, ours), for names that no catalogue lists.
FORMS: dict[tuple[str, str], tuple[str | None, str | None]] = {
    ("openai", "models/gpt-4o"): (None, "gpt-4o"),  # a prefix that some clients send
    ("openai", "openai/gpt-4o"): (None, "gpt-4o"),  # the provider's own name before it
    ("openai", "gpt-4o-2099-01-01"): (None, "gpt-4o"),  # a snapshot that nobody knows yet
    ("openai", "gpt-4o-20990101"): (None, "gpt-4o"),
    ("openai", "gpt-4o-20240513"): ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
    ("openai", "gpt-4o-20240230"): (None, None),  # no such day
    ("openai", "ft:gpt-4o-2024-08-06:acme::x"): ("ft:gpt-4o", "ft:gpt-4o"),
    ("openai", "ft:gpt-4o:acme::x"): (None, "ft:gpt-4o"),  # its base has no date
    ("openai", "ft:gpt-4.1-2025-04-14:acme::x"): (None, "ft:gpt-4.1"),  # a price that they do not have
    ("openai", "ft:gpt-5-2025-08-07:acme::x"): (None, None),  # never its base, which is cheaper
    ("openai", "gpt-9-nothing"): (None, None),
    ("anthropic", "claude-sonnet-4-5@20250929"): ("claude-sonnet-4-5", "claude-sonnet-4-5"),
    ("google", "models/gemini-2.5-pro"): (None, "gemini-2.5-pro"),
    ("google", "publishers/google/models/gemini-2.5-pro"): (None, "gemini-2.5-pro"),
    ("google", "claude-sonnet-4-5@20250929"): (
        "claude-sonnet-4-5",
        "claude-sonnet-4-5",
    ),  # Anthropic's, sold there
    ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"): (
        "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
    ("openrouter", "openai/gpt-4o:nitro"): (None, "openai/gpt-4o"),
    ("openrouter", "openai/gpt-4o:floor"): (None, "openai/gpt-4o"),
    ("openrouter", "openai/gpt-4o:online"): (None, "openai/gpt-4o"),
    ("openrouter", "openai/gpt-4o:extended"): ("openai/gpt-4o:extended", "openai/gpt-4o:extended"),
    ("azure", "gpt-35-turbo"): ("gpt-3.5-turbo", "gpt-3.5-turbo"),
    ("azure", "gpt-41-mini"): (None, "gpt-4.1-mini"),  # a deployment's name, without dots
    ("azure", "gpt-4.1-nano-2025-04-14"): ("gpt-4.1-nano", "gpt-4.1-nano"),  # OpenAI's, sold there
    ("azure", "our-own-deployment"): (None, None),
}


def _words(clause: Any) -> Iterator[str]:
    """Every literal name in a clause of theirs."""
    for inner in (*(getattr(clause, "or_", None) or ()), *(getattr(clause, "and_", None) or ())):
        yield from _words(inner)
    for kind in ("equals", "starts_with", "contains", "ends_with"):
        if getattr(clause, kind, None):
            yield getattr(clause, kind)


def both(provider: str, name: str) -> tuple[str | None, str | None]:
    """Their model and ours."""
    their = PROVIDERS[provider].find_model(name, all_providers=list(PROVIDERS.values()))
    our = BOOK.find(provider, name, TODAY)
    return None if their is None else their.id.lower(), None if our is None else our.model


@pytest.mark.parametrize(("provider", "name"), FORMS)
def test_a_form_of_a_name_means_what_the_table_says(provider: str, name: str) -> None:
    assert both(provider, name) == FORMS[provider, name]


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_every_name_that_their_clauses_hold_means_the_same_model_here(provider: str) -> None:
    """But for a model's own id, which is always a name here and is not there where only a pattern knows the model."""
    names = {name for model in PROVIDERS[provider].models for name in (model.id, *_words(model.match))}
    found = {name.lower(): both(provider, name) for name in names}

    assert {
        name: (their, our)
        for name, (their, our) in found.items()
        if their != our and (their, our) != (None, name) and (provider, their) not in UNKNOWN_HERE
    } == {}


def test_enough_names_were_asked_for() -> None:
    names = [
        name for provider in PROVIDERS.values() for model in provider.models for name in _words(model.match)
    ]

    assert len(names) > 3_500
