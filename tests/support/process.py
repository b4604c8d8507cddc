"""The real processes that end-to-end tests stand on: Spendgate by its command line, the scripted provider beside it."""

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from click.testing import CliRunner

from proxy import control
from proxy.cli import spendgate
from tests.support.bill import Billed, read_bill

START_SECONDS = 30.0
STOP_SECONDS = 15.0
WAIT_SECONDS = 15.0
TAIL_BYTES = 8_000
PROVIDER_KEY = "provider-secret-canary"
NANOS_PER_USD = 1_000_000_000

running: "list[Spendgate]" = []
"""Every Spendgate started and not stopped: a failing test shows what they logged."""

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], seconds: float = WAIT_SECONDS) -> T:
    """Ask until there is an answer. Raises AssertionError with the question once the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)


class ScriptedProvider:
    """The scripted provider in a process of its own, with its bill."""

    def __init__(self, bill: Path) -> None:
        self._bill = bill

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.provider", "--bill", str(self._bill)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_repository())
        assert self._process.stdout is not None, "started with a pipe"
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process)
        assert self._process.stdout is not None, "started with a pipe"
        self._process.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bill(self, tag_prefix: str = "") -> list[Billed]:
        return [entry for entry in read_bill(self._bill) if entry.tag.startswith(tag_prefix)]

    def wait_for_arrival(self, tag: str) -> None:
        """Until a call of that tag is being worked on."""
        wait_for(f"{tag} to arrive", lambda: self.bill(tag) or None)

    def billed(self, tag: str) -> Billed:
        """The one entry of a call; waits until nothing more will be made for it."""
        return wait_for(
            f"the bill of {tag}", lambda: next((e for e in self.bill() if e.tag == tag and e.final), None)
        )


@dataclass(frozen=True, slots=True)
class LedgerCall:
    """One line of `spendgate calls --format jsonl`."""

    fields: Mapping[str, Any]

    @property
    def tag(self) -> str:
        return str(self.fields["trace_id"])

    @property
    def nanos(self) -> int:
        """What it was charged; nothing charged is 0."""
        cost = self.fields["cost_usd"]
        return 0 if cost is None else int(Decimal(str(cost)) * NANOS_PER_USD)

    @property
    def basis(self) -> str:
        return str(self.fields["basis"] or "")

    @property
    def flags(self) -> list[str]:
        return list(self.fields["flags"])

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


def config_for(provider_url: str, **changes: Any) -> dict[str, Any]:
    """A configuration in which every provider but the last is the scripted one."""
    scripted = {
        "dialect": "openai",
        "base_url": f"{provider_url}/v1",
        "api_key": PROVIDER_KEY,
        "price_provider": "openai",
        "breaker": "off",  # tests make it fail all the time
    }
    return {
        "version": 1,
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "providers": {
            "openai": scripted,
            "hasty": {**scripted, "timeouts": {"connect_seconds": 2, "idle_seconds": 1}},
            "dead": {**scripted, "base_url": "http://127.0.0.1:1/v1"},  # port 1: nobody listens
        },
        "default_provider": "openai",
        "rules_file": "rules.yaml",
        "data_dir": "./data",
        **changes,
    }


@dataclass(slots=True)
class Spendgate:
    """The real server on a folder of its own, with ports that the system chose."""

    folder: Path
    config: Mapping[str, Any]
    rules: Mapping[str, Any] = field(default_factory=lambda: {"version": 1})
    url: str = ""
    admin_url: str = ""
    _process: "subprocess.Popen[bytes] | None" = None

    def __enter__(self) -> Self:
        self.prepare()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    # -- the process ------------------------------------------------------------------------------------------------

    def prepare(self) -> Path:
        """Write both files; gives the configuration's path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # JSON is YAML too.
        (self.folder / "rules.yaml").write_text(json.dumps(self.rules, indent=1))
        config = self.folder / "config.yaml"
        config.write_text(json.dumps(self.config, indent=1))
        config.chmod(0o600)
        return config

    def start(self) -> None:
        """Start on what the data folder holds, and wait until it serves."""
        assert self._process is None, "already running"
        with self.log.open("ab") as log:
            command = [*_cli(), "serve", "-c", str(self.folder / "config.yaml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        running.append(self)
        control = wait_for("spendgate to serve", self._served, START_SECONDS)
        self.url, self.admin_url = control["data_url"], control["admin_url"]

    def _served(self) -> dict[str, str] | None:
        assert self._process is not None, "not started"
        ended = self._process.poll()
        assert ended is None, f"spendgate ended with {ended} at its start:\n{self.tail()}"
        with contextlib.suppress(OSError, ValueError, KeyError):
            control: dict[str, Any] = json.loads((self.folder / "data" / "control.json").read_text())
            if control["pid"] == self._process.pid:
                urllib.request.urlopen(control["data_url"] + "/ready", timeout=2).close()
                return control
        return None

    def stop(self) -> int:
        """SIGTERM, as an orderly host does; gives the exit code."""
        code = _end(self._take())
        running.remove(self)
        return code

    def kill(self) -> None:
        """SIGKILL: no chance to write anything more."""
        process = self._take()
        process.kill()
        process.wait()
        running.remove(self)

    def _take(self) -> "subprocess.Popen[bytes]":
        process, self._process = self._process, None
        assert process is not None, "not running"
        return process

    @property
    def pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def tail(self) -> str:
        return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")

    def edit_rules(self, rules: Mapping[str, Any]) -> None:
        """Write rules.yaml anew, as an editor does, and have it read at once."""
        draft = self.folder / "rules.draft"
        draft.write_text(json.dumps(rules, indent=1))
        draft.replace(self.folder / "rules.yaml")
        live = control.find(self.folder / "data")
        assert live is not None, "not running"
        control.ask(live, "POST", "/api/v1/control/reload")

    # -- the command line -------------------------------------------------------------------------------------------

    def run(self, *words: str) -> str:
        """One command; gives its stdout. Raises AssertionError with its words when it fails."""
        command = [*_cli(), *words, "-c", str(self.folder / "config.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False)
        assert done.returncode == 0, f"{' '.join(words)} exited {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def key(self, team: str, *options: str) -> str:
        """A new key of a team; it stands alone on the last line. The command itself, but in this process: with a live
        server it only asks, and a process for each key was much of the suite's time."""
        words = ["keys", "create", "--team", team, *options, "-c", str(self.folder / "config.yaml")]
        if self._process is None:
            return self.run(*words[:-2]).strip().splitlines()[-1]
        done = CliRunner().invoke(spendgate, words)
        assert done.exit_code == 0, f"{' '.join(words)} exited {done.exit_code}: {done.output}"
        return done.stdout.strip().splitlines()[-1]

    def calls(self, tag_prefix: str = "", *options: str) -> list[LedgerCall]:
        """The ledger, as users read it."""
        lines = self.run("calls", "--format", "jsonl", *options).splitlines()
        found = [LedgerCall(json.loads(line)) for line in lines]
        return [call for call in found if call.tag.startswith(tag_prefix)]

    def call(self, tag: str) -> LedgerCall:
        """The one call of that tag, asked of the server where it is live; waits until it has ended."""

        def look() -> LedgerCall | None:
            live = control.find(self.folder / "data")
            if live is None:
                found = self.calls(tag, "--trace", tag)
            else:
                rows = control.ask(live, "GET", f"/api/v1/calls?trace={quote(tag, safe='')}")["calls"]
                found = [LedgerCall(row) for row in rows]
            assert len(found) < 2, f"{tag} stands {len(found)} times in the ledger"
            return found[0] if found else None

        return wait_for(f"call {tag} in the ledger", look)


def _cli() -> list[str]:
    return [sys.executable, "-m", "proxy.cli"]


def _repository() -> Path:
    return Path(__file__).resolve().parents[2]


def _end(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
