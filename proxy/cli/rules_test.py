"""`spendgate rules test`: does the policy do with these calls what is expected of it?"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pricing import catalog
from pricing.document import Document, DocumentError, Problem, check, path_of
from proxy import clock
from proxy.cli.options import config_option, load_for_ledger
from proxy.cli.rehearse import Bench, Outcome
from proxy.cli.rules_files import policy_of, read_document
from proxy.cli.show import printable
from proxy.config import load_prices
from rules.cases import CasesFile, CaseSpec, ExpectSpec, as_written
from rules.given import CaseError

PROVIDER = "openai"  # where no configuration says which is the default


@click.command("test")
@click.argument("cases", metavar="CASES", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--rules",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The rules to be tested.  [default: those of the configuration]",
)
@config_option
def command(cases: Path, rules: Path | None, file: Path) -> None:
    """Run a table of cases against the rules: a call, how things stand, and what should become of it.

    Nothing is sent, held or written. With --rules no configuration is read, and prices are those of the catalogue.
    Exits 1 when a case fails, 2 when a file cannot be used.
    """
    document = read_document(cases, "name a file of cases, as in examples/rules_cases.yaml")
    written = check(CasesFile, document)
    bench = _bench(rules, file)
    outcomes = _run(written, bench, document)
    failed = 0
    for case, outcome in outcomes:
        wrong = list(_differences(case.expect, outcome))
        failed += bool(wrong)
        click.echo(f"{'FAILED' if wrong else 'ok':8}{printable(case.name)}")
        for line in wrong:
            click.echo(f"        {printable(line)}")
        click.echo(f"        {printable(outcome.reason)}")
    click.echo(f"{len(outcomes)} cases, {failed} failed" if failed else f"{len(outcomes)} cases, all ok")
    sys.exit(1 if failed else 0)


def _bench(rules: Path | None, file: Path) -> Bench:
    _, policy = policy_of(rules, file)
    if rules is not None:
        return Bench(policy, catalog.load(), PROVIDER, clock.now())
    loaded = load_for_ledger(file)
    return Bench(policy, load_prices(loaded), loaded.config.default_provider, clock.now())


def _run(written: CasesFile, bench: Bench, document: Document) -> list[tuple[CaseSpec, Outcome]]:
    """Raises DocumentError with every case that cannot be run."""
    outcomes, problems = [], []
    for n, case in enumerate(written.cases):
        try:
            outcomes.append((case, bench.run(case, written.call)))
        except CaseError as error:
            place = ("cases", n, *error.place)
            problems.append(Problem(path_of(place), error.message, error.remedy, document.line_of(place)))
    if problems:
        raise DocumentError(document.file, tuple(problems))
    return outcomes


def _differences(expected: ExpectSpec, outcome: Outcome) -> Iterator[str]:
    for name in ExpectSpec.model_fields:
        if name not in expected.model_fields_set:
            continue
        wanted, got = getattr(expected, name), getattr(outcome, name)
        if name == "reason":
            if wanted is not None and wanted not in got:
                yield f'reason: expected "{wanted}" in it'
        elif as_written(wanted) != as_written(got):
            yield f"{name}: expected {as_written(wanted)}, got {as_written(got)}"
