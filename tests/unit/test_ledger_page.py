"""The page about rows of the ledger names what the code can write into one, and nothing else."""

import re
from pathlib import Path

from pricing.charge import PROVIDER_COST, Basis, Outcome
from proxy.callrow import AS_OTHER

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "ledger.md").read_text()


def rows(heading: str) -> set[str]:
    """The words in the first column of the table below a heading."""
    section = PAGE.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) - {heading.partition(":")[0].lower()}


def test_every_basis_is_told() -> None:
    assert rows("Basis") == {basis.value for basis in Basis}


def test_every_outcome_is_told() -> None:
    charged_only = {Outcome.UNREADABLE.value}  # an answer by its outcome: only its charge knows
    assert rows("Outcome") == {outcome.value for outcome in Outcome} - charged_only | {"refused"}


def test_every_flag_is_told() -> None:
    code = "".join(path.read_text() for path in (*ROOT.glob("proxy/*.py"), ROOT / "pricing" / "charge.py"))
    written = set(re.findall(r'flags\.append\(\s*"(\w+)"', code))
    written |= set(re.findall(r'\(\*flags, "(\w+)"\)', code))
    written |= {"lost", "result_gone", "unreadable", "unknown_price", "test"}  # named elsewhere
    written |= {PROVIDER_COST, *AS_OTHER.values()}
    assert rows("Flags") == written
