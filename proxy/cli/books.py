"""The ledger from the command line: through the live server, or directly where none lives."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from socket import gethostname
from typing import TypeVar

import click
from sqlalchemy.exc import SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from proxy import control
from proxy.admin.answers import Problem
from proxy.admin.doors import OPERATOR
from proxy.admin.state import Signer
from proxy.cli import Failed
from proxy.config import LoadedConfig
from proxy.control import Control, ControlError
from proxy.errors import StartupError
from proxy.ledger import FILE, Ledger, audit, sqlite_url
from proxy.lock import hold_folder

LOCK_SECONDS = 10.0  # for a server that starts or stops, or another command, to be done with the folder
FLUSH_PATH = "/api/v1/control/flush"

T = TypeVar("T")


def change(
    loaded: LoadedConfig,
    *,
    asked: Callable[[Control], T],
    direct: Callable[[Ledger, Signer], Awaitable[T]],
) -> T:
    """A change takes one way only: the live server's, so that it counts at once; else ours, under the folder's lock."""
    retrying = Retrying(
        retry=retry_if_exception(_is_taken),
        stop=stop_after_delay(LOCK_SECONDS),
        wait=wait_fixed(0.1),
        reraise=True,
    )

    def once() -> T:
        return _change_once(loaded, asked, direct)

    return _told(lambda: retrying(once))


def read(
    loaded: LoadedConfig, *, asked: Callable[[Control], T], direct: Callable[[Ledger], Awaitable[T]]
) -> T:
    """Beside a live server the file is read once everything that has ended is in it; nothing is ever written. A ledger
    in the server's memory can only be asked for."""
    return _told(lambda: _read(loaded, asked, direct))


def _change_once(
    loaded: LoadedConfig, asked: Callable[[Control], T], direct: Callable[[Ledger, Signer], Awaitable[T]]
) -> T:
    live = control.find(loaded.data_dir)
    if live is not None:
        return asked(live)
    if loaded.config.ledger.in_memory:
        raise _nobody(loaded)
    with hold_folder(loaded.data_dir):
        signer = Signer(gethostname(), audit.secret_of(loaded.data_dir), OPERATOR)
        return asyncio.run(_with_ledger(loaded, lambda ledger: direct(ledger, signer)))


async def _with_ledger(loaded: LoadedConfig, work: Callable[[Ledger], Awaitable[T]]) -> T:
    file = loaded.data_dir / FILE
    file.touch(mode=0o600)  # SQLite itself would let others read it
    ledger = await Ledger.open(sqlite_url(file))
    try:
        return await work(ledger)
    finally:
        await ledger.close()


def _read(loaded: LoadedConfig, asked: Callable[[Control], T], direct: Callable[[Ledger], Awaitable[T]]) -> T:
    live = control.find(loaded.data_dir)
    if loaded.config.ledger.in_memory:
        if live is None:
            raise _nobody(loaded)
        return asked(live)
    if live is not None:
        _flush(live)
    file = loaded.data_dir / FILE
    if not file.exists():
        raise Failed(
            f"there is no ledger in {loaded.data_dir} yet",
            "`spendgate keys create` or `spendgate serve` makes it; or set data_dir to where it is",
        )
    return asyncio.run(_look(file, direct))


async def _look(file: Path, direct: Callable[[Ledger], Awaitable[T]]) -> T:
    ledger = Ledger.readonly(file)
    try:
        return await direct(ledger)
    finally:
        await ledger.close()


def _flush(live: Control) -> None:
    """A reader beside a busy server may be some calls behind, and then says so."""
    try:
        told = control.ask(live, "POST", FLUSH_PATH)
        behind = (
            "" if told["flushed"] else f"{told['backlog']} calls have ended and are not in the ledger yet"
        )
    except ControlError as error:
        behind = f"the last calls may be missing: {error}"
    if behind:
        click.echo(f"warning: {behind}", err=True)


def _told(work: Callable[[], T]) -> T:
    """Every way this can fail, in words for people."""
    try:
        return work()
    except Problem as problem:
        raise Failed(problem.message) from problem
    except ControlError as error:
        raise Failed(str(error)) from error
    except SQLAlchemyError as error:
        raise Failed(
            f"the ledger cannot be used: {str(error).splitlines()[0]}",
            "if this Spendgate is newer than the one that wrote it, start `spendgate serve` once: it brings it up to date",
        ) from error


def _is_taken(error: BaseException) -> bool:
    return isinstance(error, StartupError) and isinstance(error.__cause__, BlockingIOError)


def _nobody(loaded: LoadedConfig) -> Failed:
    return Failed(
        f"the ledger of {loaded.path} is in a server's memory, and no server lives",
        "start it: `spendgate serve`",
    )
