"""An edited file: read once it rests, in force as a whole or not at all, and told of either way."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pricing.document import BYTES_MAX, DocumentError, parse
from proxy import jobs, metrics
from proxy.ledger import Ledger, outbox, sqlite_url
from proxy.ledger.schema import audit
from proxy.reload import APPLIED, MOVING, REFUSED, UNCHANGED, Edited, InForce, Reloads, Swapped
from proxy.rest import REST_SECONDS, Rest
from rules.policy import Policy, load_policy
from tests.support.records import NOON, alert

FILE = """version: 1
timezone: Europe/Berlin
teams:
  search:
    budgets:
      - {period: daily, limit_usd: "50", hold: strict}
      - {period: monthly, limit_usd: 1000}
rules:
  - {rule_id: dear, threshold_type: operation_cost, threshold_value: 0.5, action: alert_only}
"""
OTHER = "version: 1\nbudgets: [{id: one, period: daily, limit_usd: 7}]\n"
BAD = "version: 1\nbudgets: [{id: one, period: daily, limit_usd: -5}]\n"
BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
)


def loaded(text: str) -> Policy:
    return load_policy(parse(text, file="rules.yaml", environ={}))


class Server:
    """What of a server has to do with one edited file."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self.path, self.ledger = path, ledger
        rest = Rest(path)
        self.policy = InForce(self._read()[1])
        self.alerts = [alert()]
        self.meanwhile: Callable[[], object] = lambda: None
        version = self.policy.now.version
        self.rules = Edited("rules", rest, self._read, self._swap, version, NOON)
        self.hangup = asyncio.Event()
        self.reloads = Reloads([self.rules], ledger=ledger, node="n1", secret=b"s", hangup=self.hangup)

    def _read(self) -> tuple[str, Policy]:
        try:
            policy = loaded(self.path.read_bytes().decode())
        finally:
            getattr(self, "meanwhile", lambda: None)()
        return policy.version, policy

    def _swap(self, policy: Policy, at: datetime) -> Swapped:
        self.policy.now = policy
        return Swapped({"budgets_added": "one"}, self.alerts)

    async def edit(self, text: str) -> str:
        self.path.write_text(text)
        return await self.ask()

    async def ask(self) -> str:
        result, _ = (await self.reloads.now("key:admin"))["rules"]
        return result

    @property
    def problem(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.reloads.details()["rules"]["problem"]
        return found

    async def audited(self) -> list[tuple[str, str, dict[str, str]]]:
        async with self.ledger.connect() as connection:
            rows = await connection.execute(select(audit).order_by(audit.c.seq))
            return [(row.event, row.actor, orjson.loads(row.facts)) for row in rows]


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    opened = await Ledger.open(sqlite_url(None))
    yield opened
    await opened.close()


@pytest.fixture
def server(tmp_path: Path, ledger: Ledger) -> Server:
    path = tmp_path / "rules.yaml"
    path.write_text(FILE)
    return Server(path, ledger)


def figure(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0


# -- when it is read ------------------------------------------------------------------------------------------------


def test_a_file_that_is_still_being_written_is_not_reloaded(tmp_path: Path) -> None:
    """All of its prefixes, each a little later than the one before."""
    path, now = tmp_path / "rules.yaml", 0.0
    path.write_text("")
    rest = Rest(path)

    for end in range(1, len(FILE) + 1):
        path.write_text(FILE[:end])
        now += REST_SECONDS - 0.1
        assert not rest.is_due(now)

    assert not rest.is_due(now + REST_SECONDS - 0.1)
    assert rest.is_due(now + REST_SECONDS)


def test_what_was_reloaded_is_not_due_again(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(FILE)
    rest = Rest(path)
    path.write_text(OTHER)
    assert not rest.is_due(0)
    assert rest.is_due(1)

    stamp = rest._seen

    assert rest.was_read(stamp)
    assert not rest.is_due(9)


def test_every_prefix_of_a_file_is_reloaded_or_refused_with_words() -> None:
    """Never any other exception, wherever a disk was full or a writer died."""

    def is_refused(text: str) -> bool:
        try:
            loaded(text)
        except DocumentError:
            return True
        return False

    assert sum(is_refused(FILE[:end]) for end in range(len(FILE))) > len(FILE) / 3


@pytest.mark.parametrize("link", ["file", "folder"])
def test_a_swapped_link_is_a_change_to_reload(tmp_path: Path, link: str) -> None:
    """As a ConfigMap is renewed: the file is a link below a link to a folder."""
    for name, text in (("one", FILE), ("two", FILE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(text)
        os.utime(tmp_path / name / "rules.yaml", ns=(0, 0))
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "rules.yaml").symlink_to("data/rules.yaml" if link == "folder" else "one/rules.yaml")
    rest = Rest(tmp_path / "rules.yaml")

    (tmp_path / "new").symlink_to("two" if link == "folder" else "two/rules.yaml")
    (tmp_path / "new").replace(tmp_path / ("data" if link == "folder" else "rules.yaml"))

    assert not rest.is_due(0)
    assert rest.is_due(REST_SECONDS)


def test_rights_given_back_are_a_change_to_reload(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(FILE)
    path.chmod(0)
    rest = Rest(path)

    path.chmod(0o600)

    assert not rest.is_due(0)
    assert rest.is_due(REST_SECONDS)


# -- what comes of it -----------------------------------------------------------------------------------------------


async def test_a_good_edit_is_in_force_after_its_reload_audited_and_counted(server: Server) -> None:
    before, counted = server.policy.now.version, figure("spendgate_policy_reloads_total", result=APPLIED)

    assert await server.edit(OTHER) == APPLIED

    now = server.policy.now
    assert [budget.id for budget in now.budgets] == ["one"]
    facts = {"old_version": before, "new_version": now.version, "budgets_added": "one"}
    assert await server.audited() == [("rules_reloaded", "key:admin", facts)]
    async with server.ledger.connect() as connection:
        raised = await outbox.due(connection, datetime(2200, 1, 1, tzinfo=UTC), limit=9)
    assert [each.alert.key for each in raised] == [alert().key]
    assert server.reloads.details()["rules"]["version"] == now.version
    assert figure("spendgate_policy_reloads_total", result=APPLIED) == counted + 1


async def test_a_reload_of_what_is_in_force_changes_nothing(server: Server) -> None:
    before = server.policy.now

    assert await server.edit(FILE) == UNCHANGED

    assert server.policy.now is before
    assert await server.audited() == []


async def test_a_bad_edit_changes_nothing_when_reloaded_and_is_told_with_its_line(server: Server) -> None:
    before = server.policy.now

    assert await server.edit(BAD) == REFUSED

    assert server.policy.now is before
    ((event, _, facts),) = await server.audited()
    assert (event, facts["path"], facts["line"]) == ("rules_refused", "budgets[0].limit_usd", "2")
    assert server.problem is not None
    assert server.problem["line"] == 2
    assert figure("spendgate_policy_bad_edit") == 1


async def test_a_bad_edit_that_is_reloaded_a_thousand_times_is_audited_once(server: Server) -> None:
    await server.edit(BAD)
    for _ in range(1_000):
        assert await server.ask() == REFUSED

    assert len(await server.audited()) == 1


async def test_a_bad_edit_taken_back_is_mended_by_a_reload(server: Server) -> None:
    await server.edit(BAD)

    assert await server.edit(FILE) == UNCHANGED

    assert server.problem is None
    assert figure("spendgate_policy_bad_edit") == 0


def gone(path: Path) -> None:
    path.unlink()


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(gone, "cannot be found", id="deleted"),
        pytest.param(a_directory, "is not a file", id="a directory"),
        pytest.param(a_pipe, "is not a file", id="a pipe"),
        pytest.param(a_link_to_itself, "cannot be found", id="a link to itself"),
        pytest.param(lambda path: path.write_text(""), "is empty", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"version: \xff\xfe"), "cannot be read", id="no text"),
        pytest.param(lambda path: path.write_text(BOMB), "aliases", id="a bomb of aliases"),
        pytest.param(lambda path: path.write_text("a: " + "[" * 5_000), "nested", id="a bomb of brackets"),
        pytest.param(lambda path: path.write_text("x" * (BYTES_MAX + 1)), "longer", id="too long"),
        pytest.param(lambda path: path.write_text("version: [1"), "not YAML", id="half a file"),
    ],
)
async def test_whatever_is_in_the_files_place_a_reload_keeps_the_policy(
    server: Server, spoil: Callable[[Path], None], words: str
) -> None:
    before = server.policy.now
    spoil(server.path)

    assert await server.ask() == REFUSED

    assert server.policy.now is before
    assert server.problem is not None
    assert words in server.problem["message"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_keeps_the_policy_at_a_reload(server: Server) -> None:
    server.path.chmod(0)

    assert await server.ask() == REFUSED


async def test_a_file_that_changes_while_it_is_reloaded_is_left_for_later(server: Server) -> None:
    before = server.policy.now
    server.meanwhile = lambda: server.path.write_text(FILE)

    assert await server.edit(OTHER) == MOVING

    assert server.policy.now is before
    assert server.problem is None


async def test_a_reload_tells_where_not_what_on_the_open_page(server: Server) -> None:
    """The folders of the machine are nobody's business."""
    server.path.unlink()

    await server.ask()

    assert str(server.path.parent) not in str(server.reloads.details())


async def test_a_reload_counts_while_the_ledger_is_away_and_is_told_once_it_is_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError("", {}, Exception("away"))

    with monkeypatch.context() as patch:
        patch.setattr(server.ledger, "connect", away)
        assert await server.edit(OTHER) == APPLIED
    assert await server.audited() == []

    await server.reloads.look(0.0)

    assert [event for event, _, _ in await server.audited()] == ["rules_reloaded"]


async def test_a_hangup_reloads_at_once_however_often_it_comes(server: Server) -> None:
    """A storm of signals is one wish."""
    server.path.write_text(OTHER)
    for _ in range(1_000):
        server.hangup.set()
    task = jobs.run(server.reloads.run(), name="reload")

    async with asyncio.timeout(10):
        while not await server.audited():
            await asyncio.sleep(0)
    await jobs.stop(task)

    assert [actor for _, actor, _ in await server.audited()] == ["signal"]
