"""What a log line looks like, and what never stands in one."""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from proxy import log


@pytest.fixture
def out(tmp_path: Path) -> Iterator[TextIO]:
    """The log, while it is one of JSON lines in a file; afterwards as it was."""
    before = log._current
    with (tmp_path / "log").open("w") as stream:
        log.configure(level="INFO", format="json", stream=stream)
        yield stream
    log._current = before


def lines(out: TextIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(out.name).read_bytes().splitlines()]


def test_a_line_is_one_json_object_with_level_message_timestamp_and_fields(out: TextIO) -> None:
    log.get().info("call_ended", path="/v1/chat/completions", status=200, duration_ms=12.5)

    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "message": "call_ended",
        "path": "/v1/chat/completions",
        "status": 200,
        "duration_ms": 12.5,
    }


def test_fields_that_hold_nothing_are_left_out(out: TextIO) -> None:
    log.get().info("call_ended", error_code=None, cost_usd="0")

    assert "error_code" not in lines(out)[0]
    assert lines(out)[0]["cost_usd"] == "0"


@pytest.mark.parametrize(
    "name", ["authorization", "Authorization", "api_key", "x-api-key", "token", "prompt"]
)
def test_a_field_named_for_a_secret_is_hidden_whatever_it_holds(out: TextIO, name: str) -> None:
    log.get().info("seen", **{name: "canary", "headers": [{name: ["canary"]}]})

    assert "canary" not in json.dumps(lines(out))


@pytest.mark.parametrize(
    "text",
    [
        "key sk-sg-live-CANARY00-x",
        "sk-proj-CANARY00",
        "Authorization: Bearer CANARY",
        "authorization: BEARER CANARY",
        "AIzaCANARY0123456",
        "https://user:CANARY@example.org/",
    ],
)
def test_a_text_that_looks_like_a_secret_is_cut_out_of_any_field(out: TextIO, text: str) -> None:
    log.get().info("seen", detail=f"before {text} after", nested={"a": [text]})
    log.get().info(f"event {text}")

    assert "CANARY" not in json.dumps(lines(out))
    assert lines(out)[0]["detail"].startswith("before ")
    assert lines(out)[0]["detail"].endswith(" after")


def test_a_traceback_is_a_field_without_its_secrets(out: TextIO) -> None:
    try:
        raise ValueError("no such key sk-CANARY000")
    except ValueError:
        log.get().exception("job_failed")

    (line,) = lines(out)
    assert "ValueError: no such key [redacted]" in line["exception"]


@pytest.mark.parametrize(
    "value", ["/\udc80", 1 << 80, float("nan"), b"\xff", object(), {1: {2}}, ("a", None), "\x00\n\u2028", "é"]
)
def test_no_value_makes_a_line_fail_or_span_two(out: TextIO, value: object) -> None:
    log.get().info("seen", value=value)

    assert [line["message"] for line in lines(out)] == ["seen"]


def test_a_long_text_is_cut(out: TextIO) -> None:
    log.get().info("seen", value="x" * 1_000_000)

    assert len(lines(out)[0]["value"]) == log.TEXT_CHARS_MAX


def test_a_log_that_cannot_be_written_fails_nobody(out: TextIO) -> None:
    with contextlib.suppress(OSError), Path("/dev/full").open("w") as full:  # closing it fails too
        log.configure(level="INFO", format="json", stream=full)
        log.get().info("on a full disk")
    log.get().info("on a closed file")


def test_the_level_changes_while_it_runs(out: TextIO) -> None:
    log.get().debug("before")
    log.set_level("DEBUG")
    log.get().debug("between")
    log.set_level("ERROR")
    log.get().warning("after")

    assert [line["message"] for line in lines(out)] == ["between"]


def test_warnings_of_libraries_become_lines_and_their_chatter_does_not(out: TextIO) -> None:
    logging.getLogger("aiohttp.server").info("chatter")
    logging.getLogger("aiohttp.server").warning("%s broke: Bearer CANARY", "it")
    logging.getLogger("sqlalchemy").log(35, "odd level")

    assert [(line["level"], line["library"], line["detail"]) for line in lines(out)] == [
        ("warning", "aiohttp.server", "it broke: [redacted]"),
        ("warning", "sqlalchemy", "odd level"),
    ]


def test_a_library_whose_warning_does_not_fit_its_format_breaks_nothing(out: TextIO) -> None:
    record = logging.LogRecord("alembic.runtime", logging.WARNING, "", 0, "%d", ("no number",), None)

    logging.getLogger("alembic").handlers[0].handle(record)

    assert lines(out)[0]["detail"] == "%d"


def test_console_lines_are_for_people_and_hide_secrets_too(tmp_path: Path, out: TextIO) -> None:
    with (tmp_path / "console").open("w") as stream:
        log.configure(level="INFO", format="console", stream=stream)
        log.get().info("call_ended", status=200, token="CANARY", path="/\udc80", detail="sk-CANARY00")

    text = (tmp_path / "console").read_text()
    assert "call_ended" in text
    assert "status=200" in text
    assert "CANARY" not in text
