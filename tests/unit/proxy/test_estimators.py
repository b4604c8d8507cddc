"""Token counters of others: used where they work, and whatever they do, no hold is ever too low for it."""

import threading
from pathlib import Path

import pytest

from pricing.tokens import Image, Prompt
from proxy import estimators
from proxy.estimators import FAILED, Estimators
from proxy.plugins import CALLS_MAX, ESTIMATORS, Plugin, PluginFailed
from tests.support.plugin import install, install_page
from tests.unit.pricing.build import counter

PAGE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "estimator.md"
MODEL = "acme-small"
PROMPT = Prompt(texts=("four score and seven years ago", "our fathers"), messages=2, images=(Image(),))
OWN = counter().count(PROMPT, MODEL)

HANGS = "import threading\ndef main(text, model):\n    threading.Event().wait(60)\n"


def using(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> Estimators:
    install(monkeypatch, folder, ESTIMATORS, code)
    return Estimators(counter(), {"acme-*": "acme"})


def counting(tokens: object) -> str:
    return f"def main(text, model):\n    return {tokens!r}\n"


def test_the_counter_that_the_page_shows_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_page(monkeypatch, tmp_path, PAGE)
    made = Estimators(counter(), {"acme-*": "acme"})

    counted = made.count(Prompt(texts=("four score, and seven",)), MODEL)

    assert (counted.tokens, counted.basis, counted.exact) == (5, "estimator acme", False)


def test_pictures_and_turns_are_added_by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = using(monkeypatch, tmp_path, counting(4))
    framing = counter().count(Prompt(texts=("", ""), messages=2, images=(Image(),)), MODEL).tokens

    assert made.count(PROMPT, MODEL).tokens == 2 * 4 + framing


@pytest.mark.parametrize("tokens", [4, 6, 9])
def test_the_safe_figure_is_never_below_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    counted = using(monkeypatch, tmp_path, counting(tokens)).count(PROMPT, MODEL)

    assert counted.basis == "estimator acme"
    assert counted.tokens_max == max(OWN.tokens_max, counted.tokens)


@pytest.mark.parametrize(
    ("code", "prompt"),
    [
        ("def main(text, model):\n    raise SystemExit(3)\n", PROMPT),
        (HANGS, PROMPT),
        ("raise RuntimeError('at its import')\n", PROMPT),
        ("main = 3\n", PROMPT),
        *((counting(wrong), PROMPT) for wrong in (-1, 1.5, "7", None, True, 10**9)),
        (counting(1), Prompt(texts=("four score and seven years ago, our fathers",))),
    ],
    ids=["raises", "hangs", "import", "no callable", "negative", "float", "text", "none", "bool", "many", "few"],
)  # fmt: skip
def test_on_any_fault_our_count_stands_and_the_row_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, prompt: Prompt
) -> None:
    monkeypatch.setattr(estimators, "COUNT_SECONDS", 0.1)
    made = using(monkeypatch, tmp_path, code)
    made.load()
    own = counter().count(prompt, MODEL)

    counted = made.count(prompt, MODEL)

    assert (counted.tokens, counted.tokens_max) == (own.tokens, own.tokens_max)
    assert counted.basis == f"{own.basis}; {FAILED}"


def test_other_models_are_ours_to_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = using(monkeypatch, tmp_path, counting(3))

    assert (made.is_outside(MODEL), made.is_outside("gpt-4o")) == (True, False)
    assert made.count(PROMPT, "gpt-4o") == counter().count(PROMPT, "gpt-4o")


def test_calls_that_hang_are_bounded_in_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path, ESTIMATORS, counting(3))
    plugin, release = Plugin(ESTIMATORS, "acme"), threading.Event()
    for _ in range(CALLS_MAX):
        with pytest.raises(PluginFailed, match="longer than"):
            plugin.call(lambda _: release.wait(), seconds=0.01)

    with pytest.raises(PluginFailed, match="is busy"):
        plugin.call(lambda _: 1, seconds=0.01)

    release.set()
