"""Who names a call's category: the first that says something; and a plug-in's faults stay its own."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pricing.tokens import Prompt
from proxy import categorise, dialects, log
from proxy.auth import Key, Kind
from proxy.categorise import Categoriser
from proxy.chosen import Chosen
from proxy.dialects import Reading, Surface
from proxy.errors import BadCall
from proxy.opencall import OpenCall
from proxy.plugins import CATEGORISERS
from proxy.routing import Route
from rules.policy import Policy
from tests.support.plugin import install, install_page
from tests.support.records import NOON, row
from tests.unit.rules.build import call, policy

PAGE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "categories.md"
CANARY = "canary-of-a-prompt"
KEYWORDS = policy("categories: [{name: pathways, keywords: [kegg]}, {name: spectra}]\nkeyword_matching: true")
STRICT = policy("categories: [{name: pathways}]\nunknown_category: reject")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def open_call(rules: Policy = KEYWORDS, *texts: str, category: str = "") -> OpenCall:
    opened = OpenCall(
        row=row(),
        started=0.0,
        route=Route("openai", "/v1/chat/completions", "", chosen=False),
        key=Key("k1", "search", Kind.LIVE, "", "", (), NOON),
        policy=rules,
        dialect=dialects.find("openai"),
        surface=Surface("metered"),
        call=call(),
        reading=Reading(prompt=Prompt(texts=texts), model="gpt-4o", category=category),
    )
    opened.row.tags = {}
    return opened


async def named(categoriser: Categoriser, opened: OpenCall, *headers: tuple[str, str]) -> str:
    categoriser.read_headers(CIMultiDictProxy(CIMultiDict(headers)), opened)
    await categoriser.name(opened)
    assert opened.row.category == opened.call.category
    return opened.row.category


def header(name: str) -> tuple[str, str]:
    return "x-spendgate-category", name


async def test_the_first_that_says_something_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    says = "def main(model, operation, text):\n    return 'of the plug-in' if 'ask' in text else None\n"
    install(monkeypatch, tmp_path, CATEGORISERS, says)
    asking = Categoriser(pool, Chosen(), "acme")

    assert await named(asking, open_call(KEYWORDS, "ask kegg", category="body"), header("header")) == "header"
    assert await named(asking, open_call(KEYWORDS, "ask kegg", category="body"), header(" ")) == "body"
    assert await named(asking, open_call(KEYWORDS, "ask kegg")) == "of the plug-in"
    assert await named(asking, open_call(KEYWORDS, "the kegg")) == "pathways"
    assert await named(asking, open_call(KEYWORDS, "nothing")) == ""


async def test_a_name_is_kept_as_given_within_bounds(pool: ThreadPoolExecutor) -> None:
    plain = Categoriser(pool, Chosen())

    assert await named(plain, open_call(), header(" Grüße|x ")) == "Grüße?x"
    assert await named(plain, open_call(category="a\nb" + "c" * 200)) == "a?b" + "c" * 125


@pytest.mark.parametrize(("headers", "body"), [([header("patways")], ""), ([], "patways")])
async def test_a_callers_name_that_is_not_listed_is_refused_with_the_nearest(
    pool: ThreadPoolExecutor, headers: list[tuple[str, str]], body: str
) -> None:
    with pytest.raises(BadCall, match='did you mean "pathways"') as raised:
        await named(Categoriser(pool, Chosen()), open_call(STRICT, category=body), *headers)

    assert (raised.value.status, raised.value.code) == (400, "unknown_category")


async def test_tags_come_from_every_header_of_that_name(pool: ThreadPoolExecutor) -> None:
    opened = open_call()

    await named(Categoriser(pool, Chosen()), opened, ("X-Spendgate-Tags", "a=b"), ("x-spendgate-tags", "c=d"))

    assert opened.row.tags == opened.call.tags == {"a": "b", "c": "d"}


async def test_bad_tags_are_refused(pool: ThreadPoolExecutor) -> None:
    with pytest.raises(BadCall) as raised:
        await named(Categoriser(pool, Chosen()), open_call(), ("X-Spendgate-Tags", "a"))

    assert raised.value.code == "invalid_tags"


# -- plug-ins ---------------------------------------------------------------------------------------------------------


async def test_the_categoriser_that_the_page_shows_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    install_page(monkeypatch, tmp_path, PAGE)
    shown = Categoriser(pool, Chosen(), "acme")
    shown.load()

    assert await named(shown, open_call(KEYWORDS, "search PubMed")) == "literature_search"
    assert await named(shown, open_call(KEYWORDS, "kegg")) == "pathways"


async def test_it_sees_the_end_of_the_prompt_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    says = "def main(model, operation, text):\n    return f'{model} {operation} {len(text.encode())} {text[-3:]}'\n"
    install(monkeypatch, tmp_path, CATEGORISERS, says)

    asked = open_call(KEYWORDS, "ö" * 5000, "user", "end")
    asked.row.model = "gpt-4o"
    name = await named(Categoriser(pool, Chosen(), "acme"), asked)

    assert name in ("gpt-4o llm_call 4096 end", "gpt-4o llm_call 4095 end")


@pytest.mark.parametrize(
    "code",
    [
        "def main(model, operation, text):\n    raise ValueError(text)\n",
        "def main(model, operation, text):\n    raise SystemExit(text)\n",
        "def main(model, operation, text):\n    return text + 'x' * 200\n",
        "def main(model, operation, text):\n    return text + '|'\n",
        "def main(model, operation, text):\n    return [text]\n",
        "def main(model, operation, text):\n    return ''\n",
        "import threading\ndef main(model, operation, text):\n    threading.Event().wait(60)\n",
        "def main(text):\n    return text\n",
        "raise RuntimeError('at its import')\n",
        "main = 3\n",
    ],
    ids=["raises", "exits", "long", "bar", "list", "empty", "hangs", "arguments", "import", "no callable"],
)
async def test_on_any_fault_the_keywords_speak_and_no_word_of_the_prompt_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor, code: str
) -> None:
    lines = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(log, "_current", log._current)  # put back after the test
    log.configure(level="INFO", format="json", stream=lines)
    monkeypatch.setattr(categorise, "CATEGORISE_SECONDS", 0.05)
    install(monkeypatch, tmp_path, CATEGORISERS, code)
    faulty = Categoriser(pool, Chosen(), "acme")

    faulty.load()
    name = await named(faulty, open_call(KEYWORDS, f"kegg {CANARY}"))

    assert name == "pathways"
    told = lines.buffer.getvalue().decode()
    assert [json.loads(line)["message"] for line in told.splitlines()] == ["categoriser_failed"]
    assert CANARY not in told


async def test_a_plug_ins_name_that_is_not_listed_is_not_its_callers_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    install(monkeypatch, tmp_path, CATEGORISERS, "def main(model, operation, text):\n    return 'unlisted'\n")

    assert await named(Categoriser(pool, Chosen(), "acme"), open_call(STRICT, "x")) == ""
