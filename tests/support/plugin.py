"""An installed plug-in: its code, and what an installer writes beside it, in a folder that Python searches."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest

_BLOCK = re.compile(r"`(?P<file>\w+\.(py|toml))`.*?\n```\w+\n(?P<text>.*?)```", re.DOTALL)
_number = itertools.count()


def install(
    monkeypatch: pytest.MonkeyPatch, folder: Path, group: str, code: str, *, name: str = "acme"
) -> None:
    """A module with that code, whose `main` is the entry point."""
    module = f"plugin_of_a_test_{next(_number)}"
    (folder / f"{module}.py").write_text(code)
    _write(folder, module, group, {name: f"{module}:main"})
    monkeypatch.syspath_prepend(folder)


def install_page(monkeypatch: pytest.MonkeyPatch, folder: Path, page: Path) -> None:
    """The plug-in that a page shows: each block of code is the file that was named before it."""
    files = {each["file"]: each["text"] for each in _BLOCK.finditer(page.read_text())}
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        (folder / name).write_text(text)
    for group, points in project["entry-points"].items():
        _write(folder, project["name"], group, points)
    monkeypatch.syspath_prepend(folder)


def _write(folder: Path, distribution: str, group: str, points: dict[str, str]) -> None:
    info = folder / f"{distribution.replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    lines = [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
