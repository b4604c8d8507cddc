"""What several end-to-end suites share."""

import pytest

from tests.support.gathering import dollars
from tests.support.process import Spendgate


@pytest.fixture(scope="session")
def poor(spendgate: Spendgate) -> str:
    """A key under a strict budget that affords nothing: its refusals tell what would have been held."""
    return spendgate.key("poor", "--budget-usd", dollars(1), "--period", "total", "--hold", "strict")
