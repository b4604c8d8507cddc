"""The journal: what was appended is read back whole, whatever the disk or a death does in between."""

import errno
import multiprocessing
import os
import signal
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from proxy.errors import StartupError
from proxy.journal import Journal, JournalUnwritable, Reading, read_segment, segment_paths
from proxy.lock import FILE, hold_folder, is_held
from proxy.records import Opened, Record
from tests.support.records import opened, refused, settled

SMALL = 8_000  # bytes of a segment: a handful of records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def read(folder: Path) -> tuple[list[Record], list[str]]:
    reading = Reading()
    records = [record for path in segment_paths(folder) for record in read_segment(path, reading)]
    return records, reading.findings


def ids(folder: Path) -> list[str]:
    return [record.row.call_id for record in read(folder)[0]]


def written(folder: Path, *records: Record) -> tuple[Path, list[int]]:
    """A journal that a death left behind, and where in its file each record ends."""
    journal, ends = Journal(folder, full=False), []
    for record in records:
        path = journal.append(record)
        ends.append(path.stat().st_size)
    return path, ends


def test_records_are_read_back_as_they_were_written(folder: Path) -> None:
    records: list[Record] = [opened("c1"), settled("c1"), refused("c2"), opened("c3"), settled("c3", None)]
    written(folder, *records)

    assert read(folder) == (records, [])


def test_a_tail_torn_at_any_byte_leaves_every_whole_record(folder: Path) -> None:
    records: list[Record] = [settled("c1"), refused("c2")]
    path, (first, second) = written(folder, *records)
    whole = path.read_bytes()

    for length in range(second + 1):
        path.write_bytes(whole[:length])
        found, findings = read(folder)

        assert found == records[: (length >= first) + (length >= second)], f"torn at byte {length}"
        assert bool(findings) is (length not in (0, first, second)), f"torn at byte {length}"


def test_a_flipped_bit_costs_its_own_record_only_and_is_told(folder: Path) -> None:
    records = [settled("c1"), settled("c2"), settled("c3")]
    path, (first, second, _) = written(folder, *records)
    whole = path.read_bytes()

    for at in range(first, second, 13):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        found, findings = read(folder)

        assert found == [records[0], records[2]], f"byte {at}"
        assert len(findings) == 1, f"byte {at}"


def test_a_whole_record_that_cannot_be_understood_is_told_and_stepped_over(folder: Path) -> None:
    path, (first, _) = written(folder, settled("c1"), settled("c3"))
    whole, payload = path.read_bytes(), b'{"v":9,"t":"from_the_future","row":{"call_id":"c2"}}'
    frame = struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    path.write_bytes(whole[:first] + frame + whole[first:])

    assert ids(folder) == ["c1", "c3"]
    assert len(read(folder)[1]) == 1


@pytest.mark.parametrize("full", [False, True])
def test_a_full_disk_refuses_the_record_and_the_next_one_that_fits_follows_the_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    journal = Journal(folder, full=full)
    journal.append(opened("c1"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(JournalUnwritable, match="No space left"):
            journal.append(opened("c2"))
        assert journal.last_error == "No space left on device"
        assert journal.open_calls == 1

    journal.append(settled("c1"))

    assert journal.last_error == ""
    assert ids(folder) == ["c1", "c1"]
    assert read(folder)[1] == []


@pytest.mark.parametrize("taken", [1, 7, 8, 9, 500])
def test_a_short_write_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    journal, write = Journal(folder, full=False), os.write
    journal.append(settled("c1"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:taken]))
        with pytest.raises(JournalUnwritable):
            journal.append(settled("c2"))

    journal.append(settled("c3"))

    assert ids(folder) == ["c1", "c3"]
    assert read(folder)[1] == []


def test_what_could_not_be_synced_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(folder, full=True)
    journal.append(settled("c1"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(JournalUnwritable):
            journal.append(settled("c2"))

    assert ids(folder) == ["c1"]


def test_normal_durability_never_waits_for_the_disk_and_full_does_for_each_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    normal, full = Journal(folder / "normal", full=False), Journal(folder / "full", full=True)

    normal.append(settled("c1"))
    assert synced == []
    full.append(settled("c1"))
    full.append(settled("c2"))
    assert len(synced) == 2


def test_a_record_that_could_not_be_read_back_is_refused(folder: Path) -> None:
    journal, huge = Journal(folder, full=False), settled("c1")
    huge.row.reason = "x" * (1 << 20)

    with pytest.raises(JournalUnwritable, match="could not be read back"):
        journal.append(huge)


def test_segments_are_removed_once_sealed_and_shipped_and_not_before(folder: Path) -> None:
    journal = Journal(folder, full=False, segment_bytes_max=SMALL)
    paths = [journal.append(settled(f"c{n}")) for n in range(20)]
    first = [path for path in paths if path == paths[0]]
    assert len(segment_paths(folder)) > 2

    for _ in first[1:]:
        journal.shipped(paths[0])
    assert paths[0].exists()
    journal.shipped(paths[0])

    assert not paths[0].exists()
    assert ids(folder) == [f"c{n}" for n in range(len(first), 20)]


def test_a_segment_that_is_still_written_to_stays_though_all_of_it_is_shipped(folder: Path) -> None:
    journal = Journal(folder, full=False)
    path = journal.append(settled("c1"))
    journal.shipped(path)

    assert path.exists()
    assert journal.append(settled("c2")) == path


def test_an_open_hold_is_carried_on_so_that_old_segments_can_go(folder: Path) -> None:
    journal = Journal(folder, full=False, segment_bytes_max=SMALL)
    journal.append(opened("long"))
    for n in range(40):
        journal.shipped(journal.append(settled(f"c{n}")))

    assert len(segment_paths(folder)) == 1
    assert [record for record in read(folder)[0] if isinstance(record, Opened)] == [opened("long")]


def test_a_full_disk_at_the_start_of_a_segment_leaves_no_half_segment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(folder, full=False, segment_bytes_max=SMALL)
    journal.append(opened("long"))
    while len(segment_paths(folder)[0].read_bytes()) < SMALL - 2_000:
        journal.append(settled("c"))
    before = segment_paths(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(OSError(errno.ENOSPC, "No space left on device")))
        for _ in range(3):
            with pytest.raises(JournalUnwritable):
                journal.append(settled("next"))
    assert segment_paths(folder) == before

    journal.append(settled("next"))
    journal.append(settled("next"))

    assert len(segment_paths(folder)) == 2
    assert read(folder)[1] == []


def test_more_open_holds_than_a_segment_takes_do_not_start_one_for_every_record(folder: Path) -> None:
    journal = Journal(folder, full=False, segment_bytes_max=SMALL)
    for n in range(100):
        journal.append(opened(f"long{n}"))
    began = int(segment_paths(folder)[-1].stem)
    for n in range(100):
        journal.append(settled(f"c{n}"))

    assert int(segment_paths(folder)[-1].stem) - began <= 3
    still_open = {record.row.call_id for record in read(folder)[0] if isinstance(record, Opened)}
    assert still_open == {f"long{n}" for n in range(100)}


def test_a_journal_with_nothing_left_to_ship_leaves_no_file(folder: Path) -> None:
    journal = Journal(folder, full=False)
    path = journal.append(opened("c1"))
    journal.append(settled("c1"))
    journal.shipped(path)

    journal.close()

    assert segment_paths(folder) == []


@pytest.mark.parametrize("left", [opened("c1"), settled("c1")], ids=["open", "unshipped"])
def test_a_journal_with_something_left_keeps_it_for_the_next_start(folder: Path, left: Record) -> None:
    journal = Journal(folder, full=False)
    journal.append(left)

    journal.close()

    assert read(folder)[0] == [left]


def test_a_new_journal_writes_beside_what_an_older_one_left(folder: Path) -> None:
    path, _ = written(folder, settled("c1"))
    journal = Journal(folder, full=False)

    assert journal.append(settled("c2")) > path
    assert ids(folder) == ["c1", "c2"]


def test_folders_and_files_are_their_owners_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with hold_folder(data):
        path = Journal(data / "journal", full=False).append(settled("c1"))

        modes = [stat.S_IMODE(each.stat().st_mode) for each in (data, path.parent, path, data / FILE)]

    assert modes == [0o700, 0o700, 0o600, 0o600]


def test_two_processes_cannot_hold_one_folder(tmp_path: Path) -> None:
    """The lock goes with its process, however that ends."""
    with other_process(tmp_path) as other:
        assert is_held(tmp_path)
        with pytest.raises(StartupError, match=f"pid {other.pid}"), hold_folder(tmp_path):
            pass
        other.kill()
        other.join(10)

    assert not is_held(tmp_path)
    with hold_folder(tmp_path):
        assert is_held(tmp_path)


def failing(error: OSError) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise error

    return fail


def _hold_until_killed(data_dir: Path, held: "Event") -> None:
    with hold_folder(data_dir):
        held.set()
        signal.pause()


@contextmanager
def other_process(data_dir: Path) -> Iterator[BaseProcess]:
    """Holds the folder until it is killed."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold_until_killed, args=(data_dir, held), daemon=True)
    other.start()
    try:
        assert held.wait(30)
        yield other
    finally:
        other.kill()
        other.join(10)
