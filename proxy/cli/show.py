"""Rows on stdout: a table for people, JSON, JSON lines or CSV for programs."""

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Column:
    name: str  # of the row's field
    title: str
    is_number: bool = False


def as_json(rows: Sequence[Row]) -> None:
    _write(orjson.dumps(list(rows), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def as_jsonl(rows: Sequence[Row]) -> None:
    for row in rows:
        _write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def as_csv(names: Sequence[str], rows: Sequence[Row]) -> None:
    """A head with the fields' names, also where there is no row."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([harmless(_cell(row[name])) for name in names])
    sys.stdout.flush()


def as_table(columns: Sequence[Column], rows: Sequence[Row], total: Row | None = None) -> None:
    """Ruled on a terminal, plain columns elsewhere. The total stands last."""
    body = [[printable(_cell(row.get(column.name))) for column in columns] for row in rows]
    last = None if total is None else [printable(_cell(total.get(column.name))) for column in columns]
    if sys.stdout.isatty():
        _ruled(columns, body, last)
    else:
        _plain(columns, body if last is None else [*body, last])


def harmless(cell: str) -> str:
    """A cell that a spreadsheet would take for a formula gets an apostrophe in front; plain numbers stay."""
    return f"'{cell}" if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell


def printable(cell: str) -> str:
    """Callers choose model names: none of them may steer the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cell)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "yes" if value else "no"
        case list() if all(isinstance(each, str) for each in value):
            return " ".join(value)
        case list() | dict():
            return orjson.dumps(value).decode()
    return str(value)


def _ruled(columns: Sequence[Column], body: Sequence[Sequence[str]], last: Sequence[str] | None) -> None:
    table = Table(show_footer=last is not None)
    for n, column in enumerate(columns):
        footer = Text("" if last is None else last[n])
        table.add_column(
            column.title, footer=footer, justify="right" if column.is_number else "left", overflow="fold"
        )
    for cells in body:
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


def _plain(columns: Sequence[Column], body: Sequence[Sequence[str]]) -> None:
    lines = [[column.title for column in columns], *body]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
