"""One server per data folder: an exclusive lock, kept until the process ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from proxy.errors import StartupError

FILE = "lock"


@contextlib.contextmanager
def hold_folder(data_dir: Path) -> Iterator[None]:
    """Makes the folder where needed (0700). Raises StartupError naming the process that has the lock."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data_dir / FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartupError(
            f"cannot use the data folder {data_dir}: {error.strerror}", "make it writable, or set data_dir"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise StartupError(
                f"another process (pid {owner}) has the data folder {data_dir}",
                "stop it, or give this one a data_dir of its own",
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def is_held(data_dir: Path) -> bool:
    """Does a live process have the folder? Asks without waiting, and lets go at once."""
    try:
        descriptor = os.open(data_dir / FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
