"""What a process appends before and after each call, so that its death loses nothing: an append-only log with checksums."""

import contextlib
import errno
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from proxy.records import Opened, Record, from_dict, to_dict

SEGMENT_BYTES_MAX = 8 << 20
RECORD_BYTES_MAX = 1 << 20
_HEAD = struct.Struct("<II")  # length, CRC-32
_SUFFIX = ".journal"


class JournalUnwritable(Exception):
    """The disk is full, gone or read-only. The journal tries again with the next record."""


@dataclass(slots=True)
class _Segment:
    path: Path
    descriptor: int
    size: int = 0
    carried: int = 0  # bytes at its head that were written before, in an older one
    unshipped: int = 0  # ended calls in it that are not in the ledger yet
    sealed: bool = False


class Journal:
    """Of one process. One `os.write` a record: what was written survives the process's death, with
    `durability: full` also the machine's."""

    def __init__(self, folder: Path, *, full: bool, segment_bytes_max: int = SEGMENT_BYTES_MAX) -> None:
        self._folder = folder
        self._full = full
        self._segment_bytes_max = segment_bytes_max
        self._open: dict[str, Opened] = {}
        self._segments: list[_Segment] = []
        self._sequence = 0
        self.last_error = ""  # empty once a write has worked again
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in segment_paths(folder):
            self._sequence = max(self._sequence, int(path.stem))

    @property
    def open_calls(self) -> int:
        return len(self._open)

    def append(self, record: Record) -> Path:
        """On disk when this returns. The segment it went to is what `shipped` wants later. Raises JournalUnwritable."""
        try:
            payload = orjson.dumps(to_dict(record))
        except (TypeError, ValueError) as error:
            raise JournalUnwritable(f"a record cannot be written down: {error}") from error
        segment = self._write(payload)
        if isinstance(record, Opened):
            self._open[record.row.call_id] = record
        else:
            self._open.pop(record.row.call_id, None)
            segment.unshipped += 1
        return segment.path

    def shipped(self, path: Path, count: int = 1) -> None:
        """So many ended calls of a segment are in the ledger; one that is sealed and done is removed."""
        for segment in self._segments:
            if segment.path == path:
                segment.unshipped -= count
        self._remove_done()

    def close(self) -> None:
        """A journal with nothing open and nothing unshipped leaves no file behind."""
        for segment in self._segments:
            segment.sealed = True
        if not self._open:
            self._remove_done()
        for segment in self._segments:
            os.close(segment.descriptor)
        self._segments.clear()

    def _write(self, payload: bytes) -> _Segment:
        try:
            if len(payload) > RECORD_BYTES_MAX:
                raise OSError(errno.EFBIG, f"a record of {len(payload)} bytes could not be read back")
            segment = self._current(len(payload))
            self._append_whole(segment, _framed(payload))
        except OSError as error:
            self.last_error = f"{error.strerror or error}"
            raise JournalUnwritable(f"{self._folder}: {self.last_error}") from error
        self.last_error = ""
        return segment

    def _append_whole(self, segment: _Segment, data: bytes) -> None:
        try:
            written = os.write(segment.descriptor, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, "the disk took only a part of a record")
            if self._full:
                os.fdatasync(segment.descriptor)
        except OSError:
            # Back to the last whole record, so that the next one follows it.
            with contextlib.suppress(OSError):
                os.ftruncate(segment.descriptor, segment.size)
            raise
        segment.size += len(data)

    def _current(self, payload_bytes: int) -> _Segment:
        if self._segments:
            segment = self._segments[-1]
            # What it carried does not count: many open holds must not make every record start a segment.
            own = segment.size - segment.carried
            if own + payload_bytes <= max(self._segment_bytes_max, segment.carried) or not own:
                return segment
        return self._start_segment()

    def _start_segment(self) -> _Segment:
        """Open holds are written again into the new segment, so that an old one can go while a long call runs."""
        path = self._folder / f"{self._sequence + 1:012d}{_SUFFIX}"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        self._sequence += 1
        segment = _Segment(path, descriptor)
        try:
            carried = b"".join(_framed(orjson.dumps(to_dict(opened))) for opened in self._open.values())
            if carried:
                self._append_whole(segment, carried)
            segment.carried = len(carried)
            if self._full:
                _sync_folder(self._folder)  # or a power cut may leave a file that no folder names
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        if self._segments:
            self._segments[-1].sealed = True
        self._segments.append(segment)
        self._remove_done()
        return segment

    def _remove_done(self) -> None:
        for segment in [each for each in self._segments if each.sealed and each.unshipped <= 0]:
            os.close(segment.descriptor)
            segment.path.unlink(missing_ok=True)
            self._segments.remove(segment)


def _framed(payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class Reading:
    """What reading a journal back found. `findings` says, per file, what could not be read."""

    records: int = 0
    findings: list[str] = field(default_factory=list)


def segment_paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def read_segment(path: Path, reading: Reading) -> Iterator[Record]:
    """Every record of one file that can be understood."""
    for payload in read_payloads(path, reading):
        record = understand(payload, path, reading)
        if record is not None:
            yield record


def understand(payload: bytes, path: Path, reading: Reading) -> Record | None:
    """None, and a finding: no version of ours that this one knows wrote it."""
    try:
        return from_dict(orjson.loads(payload))
    except (KeyError, TypeError, ValueError) as error:
        reading.findings.append(f"{path.name}: a whole record cannot be understood: {error!r}")
        return None


def read_payloads(path: Path, reading: Reading) -> Iterator[bytes]:
    """Every whole record of one file, as it was written. A torn tail is what a death in mid-write leaves; damage before
    whole records is stepped over and told."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        payload = _record_at(data, at)
        if payload is None:
            following = _next_record(data, at + 1)
            if following is None:
                reading.findings.append(
                    f"{path.name}: {len(data) - at} bytes after byte {at} are no whole record"
                )
                return
            reading.findings.append(
                f"{path.name}: {following - at} damaged bytes at byte {at} were stepped over"
            )
            at = following
            continue
        at += _HEAD.size + len(payload)
        reading.records += 1
        yield payload


def _record_at(data: bytes, at: int) -> bytes | None:
    if at + _HEAD.size > len(data):
        return None
    length, checksum = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size
    if not 0 < length <= RECORD_BYTES_MAX or start + length > len(data):
        return None
    payload = data[start : start + length]
    return payload if zlib.crc32(payload) == checksum else None


def _next_record(data: bytes, at: int) -> int | None:
    """Where the next whole record begins: each payload starts with the same few bytes."""
    while True:
        found = data.find(b'{"v":', at + _HEAD.size)
        if found < 0:
            return None
        if _record_at(data, found - _HEAD.size) is not None:
            return found - _HEAD.size
        at = found - _HEAD.size + 1
