"""Categories: which names stand, which are refused with the nearest, and what keywords find in a prompt."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.document import parse
from rules.category import (
    KEYWORDS_MAX,
    NO_CATEGORIES,
    WINDOW_BYTES,
    Categories,
    UnknownCategory,
    head_of,
    shown_name,
    tail_of,
)
from rules.policy import load_policy
from tests.unit.rules.build import policy, problems

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "categories.yaml"
NAMES = {
    *("metabolite_identification", "pathway_analysis", "biomarker_discovery", "drug_discovery"),
    *("clinical_diagnosis", "data_preprocessing", "statistical_analysis", "literature_search"),
    *("knowledge_extraction", "database_integration", "experimental_validation", "general_query"),
    "system_maintenance",
}


def matching(**keywords: tuple[str, ...]) -> Categories:
    return Categories(tuple(keywords), keywords=tuple(keywords.values()))


TWO = matching(pathways=("pathway", "KEGG", "gene set"), spectra=("LC-MS", "Straße", "métabolite"))


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_listed_is_kept_or_refused_with_the_nearest() -> None:
    listed = "categories: [{name: pathway_analysis}, {name: literature_search}]\n"
    kept, strict = policy(listed).categories, policy(f"{listed}unknown_category: reject").categories

    assert (kept.takes("patway_analysis"), strict.takes("patway_analysis")) == (True, False)
    assert strict.takes("pathway_analysis")
    assert 'did you mean "pathway_analysis"?' in strict.refusal("patway_analysis")
    assert "use one of pathway_analysis, literature_search" in strict.refusal("zzz")


def test_without_a_list_every_name_stands() -> None:
    assert NO_CATEGORIES.takes("anything")
    assert NO_CATEGORIES.match(["pathway"]) is None


@given(st.text())
def test_a_name_as_shown_is_short_and_harmless(text: str) -> None:
    name = shown_name(text)

    assert len(name) <= 128
    assert name.isprintable()
    assert "|" not in name


# -- keywords ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("the pathway", "pathways"),
        ("PATHWAY!", "pathways"),
        ("see (kegg)", "pathways"),
        ("“pathway”—here", "pathways"),
        ("a gene-set\nof many", "pathways"),
        ("by lc/ms", "spectra"),
        ("STRASSE", "spectra"),
        ("MÉTABOLITES métabolite", "spectra"),
        ("LC-MS and a pathway", "pathways"),  # the first of the file
        ("pathways", None),
        ("a pathwayé", None),
        ("gene of a set", None),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_keyword_is_whole_words_in_any_case(text: str, category: str | None) -> None:
    assert TWO.match([text]) == category


def test_the_role_of_a_message_is_none_of_its_words() -> None:
    assert matching(people=("user",)).match(["user", "hello", "system", "be brief"]) is None
    assert matching(people=("user",)).match(["user", "hello, user"]) == "people"


def test_a_phrase_may_not_stand_in_two_texts_far_apart() -> None:
    assert TWO.match(["gene", "x " * WINDOW_BYTES, "set"]) is None


@pytest.mark.parametrize("filler", ["x ", "ö ", "一"])
def test_only_both_ends_of_a_long_prompt_are_looked_at(filler: str) -> None:
    long = filler * 3 * WINDOW_BYTES

    assert TWO.match([f"pathway {long}"]) == "pathways"
    assert TWO.match([f"{long} pathway"]) == "pathways"
    assert TWO.match([f"{long} pathway {long}"]) is None


def test_a_word_that_an_edge_cuts_through_is_no_word() -> None:
    begins = "a" * (WINDOW_BYTES - len(" pathway")) + " pathways " + "b " * 2 * WINDOW_BYTES
    ends = "b " * 2 * WINDOW_BYTES + "subpathway " + "a" * (WINDOW_BYTES - len("pathway "))

    assert TWO.match([begins]) is None
    assert TWO.match([ends]) is None


@given(st.lists(st.text(max_size=60)), st.lists(st.text(max_size=60)))
def test_a_keyword_is_found_wherever_it_stands_in_a_short_prompt(before: list[str], after: list[str]) -> None:
    assert matching(only=("zebrafish",)).match([*before, "Zebrafish", *after]) == "only"


@given(st.lists(st.text()), st.integers(1, 50))
def test_the_ends_of_a_prompt_are_bounded_in_bytes(texts: list[str], most: int) -> None:
    for end in (head_of(texts, most), tail_of(texts, most)):
        assert len(end.encode()) <= most


def test_keywords_are_off_unless_they_are_asked_for() -> None:
    text = "categories: [{name: a, keywords: [pathway]}]\n"

    assert policy(text).categories.match(["pathway"]) is None
    assert policy(f"{text}keyword_matching: true").categories.match(["pathway"]) == "a"


# -- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "word"),
    [
        ("categories: [{name: a}, {name: a}]", "categories[1].name", "categories[0]"),
        ("categories: [{name: 'a*'}]", "categories[0].name", "pattern"),
        ("categories: [{name: a, keywords: ['-']}]", "categories[0].keywords[0]", "no word"),
        ("categories: [{name: a, keywords: [7]}]", "categories[0].keywords[0]", "string"),
        ("categories: [{name: a, keyword: b}]", "categories[0].keyword", "keywords"),
        ("unknown_category: reject", "unknown_category", "every category"),
        ("unknown_category: drop", "unknown_category", "keep"),
        ("keyword_matching: true", "keyword_matching", "no category has keywords"),
        ("categories: [{name: a}]\nkeyword_matching: true", "keyword_matching", "no category"),
        ("names_max: 0", "names_max", "1"),
    ],
)
def test_what_could_not_work_is_refused_at_its_place(text: str, path: str, word: str) -> None:
    assert word in problems(text)[path]


def test_keywords_are_bounded_in_number() -> None:
    words = ", ".join(f"w{n}" for n in range(KEYWORDS_MAX // 2 + 1))
    found = problems(f"categories: [{{name: a, keywords: [{words}]}}, {{name: b, keywords: [{words}]}}]")

    assert f"more than {KEYWORDS_MAX}" in found["categories"]


def test_the_example_has_the_thirteen_categories_and_its_keywords_find_them() -> None:
    loaded = load_policy(parse(EXAMPLE.read_text(), file="categories.yaml", environ={}))
    categories = loaded.categories

    assert loaded.warnings == ()
    assert set(categories.names) == NAMES
    assert categories.unknown is UnknownCategory.REJECT
    found = {
        name: {categories.match([keyword]) for keyword in keywords}
        for name, keywords in zip(categories.names, categories.keywords, strict=True)
        if keywords
    }
    assert found == {name: {name} for name in found}
    assert set(categories.names) - set(found) == {"general_query"}
