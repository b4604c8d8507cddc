"""How the command line finds a live server, and what it makes of one that is not there."""

import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from proxy import control
from proxy.control import Control, ControlError
from proxy.lock import hold_folder

HERE = Control("http://127.0.0.1:1", "http://127.0.0.1:2", "token-canary", os.getpid(), "0.1.0")


def test_a_live_server_is_found(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        control.write(tmp_path, HERE)

        assert control.find(tmp_path) == HERE


def test_the_file_is_its_owners_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    control.write(tmp_path, HERE)
    control.write(tmp_path, replace(HERE, token="another"))

    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["token"] == "another"


def test_the_file_of_a_dead_server_is_not_believed(tmp_path: Path) -> None:
    """The lock went with the process, whatever the file says."""
    with hold_folder(tmp_path):
        control.write(tmp_path, HERE)

    assert control.find(tmp_path) is None


def test_another_process_that_has_the_lock_is_not_the_server_of_an_old_file(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        control.write(tmp_path, replace(HERE, pid=2**22 + 1))

        assert control.find(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"pid": 1}',
        '{"admin_url":"","data_url":"","token":"","pid":"x","version":""}',
    ],
)
def test_a_file_that_no_server_wrote_is_no_server(tmp_path: Path, text: str) -> None:
    with hold_folder(tmp_path):
        (tmp_path / control.FILE).write_text(text)

        assert control.find(tmp_path) is None


def test_a_clean_stop_leaves_no_file_and_may_happen_twice(tmp_path: Path) -> None:
    control.write(tmp_path, HERE)

    control.remove(tmp_path)
    control.remove(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_token_is_new_every_time_and_in_no_repr() -> None:
    assert control.new_token() != control.new_token()
    assert "token-canary" not in repr(HERE)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:4001"),
        ("0.0.0.0", "http://127.0.0.1:4001"),
        ("::", "http://[::1]:4001"),
        ("::1", "http://[::1]:4001"),
        ("10.1.2.3", "http://10.1.2.3:4001"),
        ("localhost", "http://localhost:4001"),
        ("", "http://127.0.0.1:4001"),
    ],
)
def test_a_listener_on_every_address_is_reached_by_the_loopback(host: str, url: str) -> None:
    assert control.reachable_url(host, 4001) == url


# -- asking ---------------------------------------------------------------------------------------------------------


@contextmanager
def answering(status: int, body: bytes) -> Iterator[Control]:
    """A server that gives one answer to everything; in it, what it was shown."""

    class Always(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            shown = body.replace(b"<shown>", self.headers["Authorization"].encode())
            self.send_response(status)
            self.send_header("Content-Length", str(len(shown)))
            self.end_headers()
            self.wfile.write(shown)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Always)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield replace(HERE, admin_url=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_answer_is_read_and_the_token_was_shown() -> None:
    with answering(200, b'{"shown":"<shown>"}') as live:
        assert control.ask(live, "POST", "/api/v1/control/flush") == {"shown": "Bearer token-canary"}


def test_a_refusal_speaks_in_the_servers_own_words() -> None:
    body = b'{"error":{"code":"unknown_key","message":"no such key"}}'
    with answering(404, body) as live, pytest.raises(ControlError) as refused:
        control.ask(live, "POST", "/api/v1/keys", {"team": "search"})

    assert (refused.value.status, str(refused.value)) == (404, "no such key")


def test_an_answer_of_somebody_else_is_told_by_its_status() -> None:
    with answering(502, b"<html>") as live, pytest.raises(ControlError, match="answered 502"):
        control.ask(live, "POST", "/")


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies of the environment are left aside: the token stays on this machine."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    with pytest.raises(
        ControlError, match=rf"pid {os.getpid()} does not answer at http://127.0.0.1:1: .*refused"
    ):
        control.ask(HERE, "POST", "/", timeout_seconds=2)
