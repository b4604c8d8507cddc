"""When is a file that people edit worth reading? Once it has changed, and then been left alone for a while."""

import stat
from pathlib import Path

from pricing.document import DocumentError, Problem

REST_SECONDS = 0.5  # of stillness: an editor, or a copy over a network, may take its time over the parts

Stamp = tuple[int, ...]
"""Device, inode, size, instants of the last change to content and to rights. Empty: no such file."""


def stamp_of(path: Path) -> Stamp:
    """The path is followed anew each time: where it is a chain of links, as in a ConfigMap, any of them may change."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def refuse_unreadable(path: Path) -> None:
    """Raises DocumentError for what is no file, such as a directory or a pipe that nobody writes into, and for an empty
    one: a full disk, or a writer that died, leaves those, and nobody drops every rule by it."""
    try:
        found = path.stat()
    except OSError as error:
        remedy = "write it again; until then what it said before stays in force"
        raise DocumentError(
            path.name, (Problem("", f"cannot be found: {error.strerror}", remedy),)
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise DocumentError(path.name, (Problem("", "is not a file", "put a file in its place"),))
    if not found.st_size:
        raise DocumentError(path.name, (Problem("", "is empty", "to drop all of it, write `version: 1`"),))


class Rest:
    """Of one file. Made before the file is first read, so that no change can fall between the two."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = self._seen = stamp_of(path)
        self._since = 0.0

    def is_due(self, now: float) -> bool:
        """To be asked a few times a second, with a clock that never steps."""
        seen = stamp_of(self.path)
        if seen != self._seen:
            self._seen, self._since = seen, now
            return False
        return seen != self._read and now - self._since >= REST_SECONDS

    def was_read(self, stamp: Stamp) -> bool:
        """With the stamp from before the reading. False: it changed meanwhile, and what was read may be half of it."""
        if stamp_of(self.path) != stamp:
            return False
        self._read = stamp
        return True
