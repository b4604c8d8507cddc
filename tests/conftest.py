"""What several suites share: the processes of the end-to-end tests, and their words when a test fails."""

import uuid
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import process
from tests.support.process import ScriptedProvider, Spendgate, config_for

# No test asserts a time, not even that of drawing its examples: the first text that is drawn on a machine takes a second.
settings.register_profile("spendgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("spendgate")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test shows the end of the log of every Spendgate that runs."""
    report = yield
    if report.failed:
        for one in process.running:
            report.sections.append((f"log of spendgate {one.pid}", one.tail()))
    return report


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedProvider]:
    """The scripted provider, shared: tests tell their calls apart by tag."""
    with ScriptedProvider(tmp_path_factory.mktemp("provider") / "bill") as started:
        yield started


@pytest.fixture(scope="session")
def spendgate(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """A Spendgate in front of the scripted provider, without any budget of its own."""
    config = config_for(provider.url, hold_queue_max=1000)
    with Spendgate(tmp_path_factory.mktemp("spendgate"), config) as started:
        yield started


@pytest.fixture(scope="session")
def key(spendgate: Spendgate) -> str:
    """A key without a budget."""
    return spendgate.key("free")


@pytest.fixture
def tag() -> str:
    """A name that no other call has."""
    return f"tag-{uuid.uuid4().hex}"
