"""Tasks beside the calls: kept while they run, logged when they fail, ended together."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from proxy import log

_running: set[asyncio.Task[Any]] = set()


def run(
    coroutine: Coroutine[Any, Any, Any], *, name: str, expects: tuple[type[BaseException], ...] = ()
) -> asyncio.Task[Any]:
    """Start a task that outlives its caller. A failure is logged under its name, save those that the caller
    `expects` and deals with; nobody needs to await the task."""
    task = asyncio.create_task(coroutine, name=name)  # noqa: TID251 - the one place
    _running.add(task)
    task.add_done_callback(partial(_ended, expects))
    return task


def _ended(expects: tuple[type[BaseException], ...], task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if task.cancelled():
        return
    error = task.exception()
    if error is not None and not isinstance(error, expects):
        log.get().error(
            "job_failed", job=task.get_name(), error=type(error).__name__, detail=str(error)[:500]
        )


async def stop(task: asyncio.Task[Any], grace_seconds: float = 5.0) -> None:
    """Cancel a task and wait until it has ended; never raises what the task raised."""
    task.cancel()
    await asyncio.wait({task}, timeout=grace_seconds)
