"""The command `spendgate` as people and scripts use it: what it prints where, what it writes, how it ends."""

import asyncio
import csv
import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy import cli
from proxy.auth import Kind
from proxy.cli import COMMANDS
from tests.support.calls import chat_body, post
from tests.support.process import Spendgate
from tests.support.script import Script

SAMPLE = {"version": 1, "listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}}
"""Without any provider: the built-in one answers."""
SECRET = "sk-canary-0123456789"
FILES = ["config.yaml", "rules.yaml"]


def spendgate(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """One command in a folder, in an environment that names no provider's key."""
    command = [sys.executable, "-m", "proxy.cli", *words]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "SECRET_OF_OPENAI": SECRET}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=env, check=False, timeout=30
    )


def within(folder: Path, *words: str) -> Result:
    """The same command in the test's own process: a second sooner. For words that end before anything is shared."""
    return CliRunner().invoke(cli.spendgate, [*words, "-c", str(folder / "config.yaml")])


def write(folder: Path, config: Mapping[str, Any], rules: str = "version: 1\n") -> None:
    """JSON is YAML too."""
    (folder / "config.yaml").write_text(json.dumps(config, indent=1))
    (folder / "config.yaml").chmod(0o600)
    (folder / "rules.yaml").write_text(rules)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- init -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "daily", "monthly", "own"),
    [
        ("", 50, 1000, ""),
        ("production", 100, 2000, "level: INFO"),
        ("development", 10, 200, "level: DEBUG"),
        ("testing", 1, 20, "url: sqlite-memory"),
    ],
)
def test_init_writes_both_files_of_a_preset(
    tmp_path: Path, preset: str, daily: int, monthly: int, own: str
) -> None:
    done = spendgate(tmp_path, "init", *(["--preset", preset] if preset else []))

    assert (done.returncode, done.stdout) == (0, "")
    assert names(tmp_path) == FILES
    assert (tmp_path / "config.yaml").stat().st_mode & 0o777 == 0o600
    assert own in (tmp_path / "config.yaml").read_text()
    rules = (tmp_path / "rules.yaml").read_text()
    assert f'daily, limit_usd: "{daily}"' in rules
    assert f'monthly, limit_usd: "{monthly}"' in rules


def test_a_dry_run_prints_both_files_and_writes_nothing(tmp_path: Path) -> None:
    done = spendgate(tmp_path, "init", "--dry-run", "--preset", "production")

    assert done.returncode == 0
    assert "listen: 127.0.0.1:4000" in done.stdout
    assert 'limit_usd: "2000"' in done.stdout
    assert names(tmp_path) == []


def test_files_in_the_way_are_kept_unless_forced_and_then_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("mine: 1\n")

    refused = spendgate(tmp_path, "init")
    assert refused.returncode == 1
    assert "rules.yaml would be overwritten, so nothing was written\n  add --force" in refused.stderr
    assert names(tmp_path) == ["rules.yaml"]

    forced = spendgate(tmp_path, "init", "--force")
    assert forced.returncode == 0, forced.stderr
    (backup,) = set(names(tmp_path)) - set(FILES)
    assert (tmp_path / backup).read_text() == "mine: 1\n"
    assert f"kept rules.yaml as {backup}" in forced.stderr
    assert "limit_usd" in (tmp_path / "rules.yaml").read_text()


# -- check ------------------------------------------------------------------------------------------------------------


def test_check_prints_the_effective_configuration_without_secrets(tmp_path: Path) -> None:
    openai = {
        "dialect": "openai",
        "base_url": "https://api.openai.com/v1",
        "api_key": "${SECRET_OF_OPENAI}",
    }
    write(tmp_path, {**SAMPLE, "version": 0, "providers": {"openai": openai}})

    done = spendgate(tmp_path, "check")

    assert done.returncode == 0
    assert "api_key: '[redacted]'" in done.stdout
    assert f"data_dir: {tmp_path / 'data'}" in done.stdout
    assert "warning: config.yaml: version 0 is old and read as 1; write `version: 1`" in done.stderr
    assert "rules.yaml: 0 budgets, 0 rules, 0 routes; times in UTC" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert names(tmp_path) == FILES, "a check makes nothing"


def test_check_tells_every_problem_of_the_configuration_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"lisen": "x", "workers": 3, "limits": {"body_mb": 0}, "retention": "3d"})

    done = spendgate(tmp_path, "check")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "config.yaml: 4 problems",
        '  line 2  lisen: unknown key; did you mean "listen"?',
        "  line 3  workers: more than one process is not available in this version; write 1",
        "  line 5  limits.body_mb: 0 should be greater than or equal to 1",
        "  line 7  retention: not available in this version; remove it",
    ]


def test_check_tells_the_problems_of_the_rules_and_of_the_machine_together(tmp_path: Path) -> None:
    write(tmp_path, {**SAMPLE, "data_dir": "file"}, rules="timezone: Europe/Belin\nbudget: []\n")
    (tmp_path / "file").touch()

    done = spendgate(tmp_path, "check")

    assert done.returncode == 1
    assert 'line 1  timezone: "Europe/Belin" is no time zone; did you mean "Europe/Berlin"?' in done.stderr
    assert 'line 2  budget: unknown key; did you mean "budgets"?' in done.stderr
    assert f"data_dir {tmp_path / 'file'} is a file\n  name a folder" in done.stderr


# -- starts that fail -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spendgate]:
    """A server in front of the sample provider."""
    with Spendgate(tmp_path_factory.mktemp("cli"), SAMPLE) as started:
        yield started


@pytest.mark.parametrize(
    ("config", "cause", "remedy"),
    [
        ({"workers": 2}, "workers: more than one process", "write 1"),
        ({"rules_file": "none.yaml"}, "none.yaml: 1 problem\n  cannot be read", "`spendgate init`"),
        ({"data_dir": "config.yaml"}, "is a file", "name a folder"),
        ({"data_dir": "loose"}, "is open to others (mode 755)", "chmod 700"),
        ({"tls": {"cert_file": "a", "key_file": "b"}}, "does not exist", "name a PEM file"),
    ],
)
def test_a_start_that_fails_exits_2_with_cause_and_remedy(
    tmp_path: Path, config: dict[str, Any], cause: str, remedy: str
) -> None:
    (tmp_path / "loose").mkdir(mode=0o755)
    write(tmp_path, {**SAMPLE, **config})

    done = spendgate(tmp_path, "serve")

    assert done.returncode == 2
    assert cause in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_not_there_exits_2_with_the_way_to_make_one(tmp_path: Path) -> None:
    done = spendgate(tmp_path, "serve", "-c", "none.yaml")

    assert done.returncode == 2
    assert f"cannot be read: No such file or directory ({tmp_path / 'none.yaml'})" in done.stderr
    assert "or write one with `spendgate init`" in done.stderr


@pytest.mark.parametrize("listener", ["listen", "admin"])
def test_a_port_in_use_exits_2_and_leaves_nothing_behind(tmp_path: Path, listener: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = f"127.0.0.1:{port}"
        write(tmp_path, {**SAMPLE, listener: address if listener == "listen" else {"listen": address}})

        done = spendgate(tmp_path, "serve")

    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use\n  stop what listens there" in done.stderr
    assert "control.json" not in names(tmp_path / "data")


def test_a_second_server_on_the_same_folder_is_told_who_has_it(tmp_path: Path, live: Spendgate) -> None:
    write(tmp_path, {**SAMPLE, "data_dir": str(live.folder / "data")})

    done = spendgate(tmp_path, "serve")

    assert done.returncode == 2
    assert f"another process (pid {live.pid}) has the data folder {live.folder / 'data'}" in done.stderr
    assert "give this one a data_dir of its own" in done.stderr


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keys_are_made_listed_and_revoked_without_a_server(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)

    asked = "--team search --name ci --budget-usd 5 --period daily --hold strict --expires 90d"
    made = spendgate(tmp_path, "keys", "create", *asked.split())
    key = made.stdout.splitlines()[-1]
    key_id = key.split("-")[3]
    revoked = spendgate(tmp_path, "keys", "revoke", key_id)
    listed = spendgate(tmp_path, "keys", "list", "--format", "json")

    assert made.stdout == f"{key}\n", "a script takes stdout as the key"
    assert key.startswith(f"sk-sg-{Kind.LIVE.value}-")
    assert key not in made.stderr + listed.stdout + revoked.stdout + revoked.stderr
    (row,) = json.loads(listed.stdout)
    assert (row["id"], row["team"], row["name"], row["kind"]) == (key_id, "search", "ci", "live")
    assert row["budgets"] == [{"period": "daily", "limit_usd": "5", "hold": "strict"}]
    assert row["expires_at"] > row["created_at"]
    assert row["revoked_at"] is not None
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    assert (tmp_path / "data" / "ledger.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("create", "a call key needs a team"),
        ("create --team a --budget-usd -5", "-5 must be at least 0"),
        ("create --team a --hold strict", "name it with --budget-usd"),
        ("create --team a --budget-usd 5 --expires never", "write 90d, 12h or 2026-12-31"),
        ("create --role admin --test", "leave out --test or --role"),
    ],
)
def test_a_key_that_cannot_be_is_not_made(tmp_path: Path, words: str, told: str) -> None:
    write(tmp_path, SAMPLE)

    done = within(tmp_path, "keys", *words.split())

    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr
    assert names(tmp_path) == FILES


async def test_a_key_made_and_revoked_beside_a_live_server_counts_at_once(live: Spendgate) -> None:
    key = live.key("passing", "--budget-usd", "5")
    before = await post(live.url, key, Script(), chat_body())

    live.run("keys", "revoke", key.split("-")[3])
    after = await post(live.url, key, Script(), chat_body())

    assert (before.status, after.status) == (200, 401)


def test_a_key_that_is_not_there_is_not_revoked(live: Spendgate) -> None:
    done = spendgate(live.folder, "keys", "revoke", "nobody")

    assert done.returncode == 1
    assert done.stderr == 'Error: no key has the id "nobody": `spendgate keys list` shows them\n'


# -- report and calls -------------------------------------------------------------------------------------------------


def test_a_report_without_a_ledger_says_how_one_comes_to_be(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)

    done = within(tmp_path, "report")

    assert (done.exit_code, done.stdout) == (1, "")
    assert f"there is no ledger in {tmp_path / 'data'} yet\n  `spendgate keys create`" in done.stderr
    assert names(tmp_path) == FILES


def test_a_report_of_an_empty_ledger_is_nothing_in_every_form(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)
    spendgate(tmp_path, "keys", "create", "--team", "a")

    table = within(tmp_path, "report").stdout.splitlines()

    assert [line.split()[:2] for line in table] == [["team", "cost"], ["total", "0"]]
    assert json.loads(within(tmp_path, "report", "--format", "json").stdout) == []
    assert within(tmp_path, "report", "--format", "csv").stdout.count("\n") == 1
    assert within(tmp_path, "calls", "--format", "jsonl").stdout == ""


def test_what_was_spent_reads_the_same_while_the_server_runs_and_after(tmp_path: Path) -> None:
    with Spendgate(tmp_path, SAMPLE) as server:
        keys = {team: server.key(team) for team in ("red", "blue")}
        for team, model in (("red", "gpt-4o"), ("red", "gpt-4o-mini"), ("blue", "gpt-4o-mini")):
            call = post(server.url, keys[team], Script(tag=f"{team}-{model}"), chat_body(model=model))
            assert asyncio.run(call).status == 200
        running = server.run("report", "--by", "team", "--format", "csv")
        calls = [call.fields for call in server.calls()]

    assert counted(running, "team") == {"red": "2", "blue": "1"}
    assert server.run("report", "--by", "team", "--format", "csv") == running
    assert [call.fields for call in server.calls()] == calls
    assert [call["trace_id"] for call in calls] == ["red-gpt-4o", "red-gpt-4o-mini", "blue-gpt-4o-mini"]
    red, blue = (key.split("-")[3] for key in keys.values())
    for by, lines in {
        "key": {red: "2", blue: "1"},
        "model": {"gpt-4o": "1", "gpt-4o-mini": "2"},
        "day": {calls[0]["at"][:10]: "3"},
    }.items():
        assert counted(within(tmp_path, "report", "--by", by, "--format", "csv").stdout, by) == lines
    by_model = within(tmp_path, "report", "--by", "model").stdout.splitlines()
    assert [line.split()[0] for line in by_model] == ["model", "gpt-4o", "gpt-4o-mini", "total"]
    of_red = within(tmp_path, "calls", "--team", "red").stdout.splitlines()
    assert [line.split()[4:6] for line in of_red[1:]] == [[red, "gpt-4o"], [red, "gpt-4o-mini"]]
    traced = within(tmp_path, "calls", "--trace", "red-gpt-4o", "--format", "csv").stdout
    assert [row["trace_id"] for row in csv.DictReader(io.StringIO(traced))] == ["red-gpt-4o"]
    costs = json.loads(within(tmp_path, "report", "--format", "json").stdout)
    assert sum(Decimal(line["cost_usd"]) for line in costs) == sum(
        Decimal(call["cost_usd"]) for call in calls
    )


def counted(text: str, by: str) -> dict[str, str]:
    return {row[by]: row["calls"] for row in csv.DictReader(io.StringIO(text))}


def test_a_time_that_is_none_is_told_with_examples(live: Spendgate) -> None:
    done = within(live.folder, "report", "--since", "gestern")

    assert (done.exit_code, done.stdout) == (2, "")
    assert '"gestern" is no instant: write 2026-01-05' in done.stderr


def test_help_names_every_command(tmp_path: Path) -> None:
    done = spendgate(tmp_path, "--help")

    assert done.returncode == 0
    listed = done.stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    named = [line.split()[0] for line in listed]
    assert named == list(COMMANDS)
    assert named[:3] == ["init", "check", "serve"]
