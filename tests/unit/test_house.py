"""The house: what its files promise one another, and no other test would notice."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("pricing", "rules", "proxy")
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")})
PRESCRIBED = {
    "aiohttp",
    "tiktoken",
    "yaml",
    "structlog",
    "tenacity",
}  # aiosqlite: SQLAlchemy imports it by its URL
COMPANIONS = {"multidict", "yarl", "pydantic-core"}  # words of aiohttp's and pydantic's own interfaces
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@cache
def project() -> dict[str, object]:
    told: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return told


def modules() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def locked(name: str) -> dict[str, str]:
    """Package to its whole entry, hashes and all."""
    entries = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
    return {re.split(r"[=\[ ]", entry)[0].lower(): entry for entry in entries}


def test_there_are_three_packages_and_each_has_its_words() -> None:
    for room in ROOMS:
        docstring = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
        assert docstring, f"{room} does not say what it is for"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "no docstring at its head"


def test_no_room_is_a_lumber_room() -> None:
    lumber = {"common", "core", "utils", "util", "models", "helpers", "misc", "base"}
    assert [path for path in modules() if path.stem in lumber or path.parent.name in lumber] == []


def test_the_prescribed_packages_are_used() -> None:
    used = set().union(*(imports(path) for path in modules()))
    assert used >= PRESCRIBED
    assert any("sqlite+aiosqlite" in path.read_text() for path in modules())


def test_nothing_is_imported_that_the_project_does_not_ask_for() -> None:
    asked = {re.split(r"[<>=\[;! ]", text)[0].lower() for text in dependencies()} | COMPANIONS
    distributions = packages_distributions()
    strangers = {
        name
        for path in modules()
        for name in imports(path) - set(sys.stdlib_module_names) - set(ROOMS)
        if not asked & {each.lower().replace("_", "-") for each in distributions.get(name, [name])}
    }
    assert strangers == set()


def dependencies() -> list[str]:
    told = project()
    extras = told["optional-dependencies"]
    assert isinstance(extras, dict)
    listed = told["dependencies"]
    assert isinstance(listed, list)
    return [*listed, *(text for some in extras.values() for text in some)]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_name_hashes_and_no_index(name: str) -> None:
    entries = locked(name)
    assert len(entries) > 20
    assert [package for package, entry in entries.items() if "--hash=sha256:" not in entry] == []
    assert "://" not in (ROOT / name).read_text()


def test_the_lock_holds_what_the_project_asks_for() -> None:
    entries = locked("requirements.lock")
    wanted = project()["dependencies"]
    assert isinstance(wanted, list)
    names = {re.split(r"[<>=\[;! ]", text)[0].lower() for text in wanted}
    assert names - entries.keys() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in {anchor_of(text) for text in HEADING.findall(there.read_text())}, target


def anchor_of(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_ci_runs_what_everybody_runs() -> None:
    lines = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line.strip() and not line.startswith(("#", "set ", "cd "))
    ]
    assert [line.removeprefix("exec ").strip() for line in lines] == ["./dev test"]
