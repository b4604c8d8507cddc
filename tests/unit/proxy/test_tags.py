"""Tags: what a caller may write, and what is said of everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tags import TAGS_MAX, parse_tags


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        (" a = b c , d=", {"a": "b c", "d": ""}),
        ("a=b,,c=d=e,", {"a": "b", "c": "d=e"}),
        ("größe=groß", {"größe": "groß"}),
    ],
)
def test_tags_are_pairs(text: str, tags: dict[str, str]) -> None:
    assert parse_tags(text) == tags


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a", "a=b,c=d"),
        ("=b", "a=b,c=d"),
        ("a=\x01", "printable"),
        ("a=\udcff", "printable"),
        ("a=b,a=c", '"a" stands twice'),
        ("a" * 65 + "=b", "64 characters"),
        ("a=" + "b" * 257, "256"),
        (",".join(f"t{n}=x" for n in range(TAGS_MAX + 1)), f"at most {TAGS_MAX}"),
    ],
)
def test_what_is_no_pair_or_too_much_is_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_tags(text)


@given(st.text())
def test_whatever_comes_is_bounded_tags_or_an_error(text: str) -> None:
    try:
        tags = parse_tags(text)
    except ValueError:
        return
    assert len(tags) <= TAGS_MAX
    assert all(name and (name + value).isprintable() for name, value in tags.items())
