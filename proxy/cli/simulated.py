"""What a simulation comes to, as rows and as sentences."""

from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import Any

from pricing.money import usd
from proxy.simulating import Replayed, Span
from rules.past import instant
from rules.policy import Policy
from rules.simulate import Simulation
from rules.tally import Tally, Totals

TEAMS_TOLD_MAX = 3


def told(done: Replayed, span: Span) -> dict[str, Any]:
    simulations = done.simulations
    told: dict[str, Any] = {
        "since": span.since.isoformat(),
        "until": span.until.isoformat(),
        "policy_version": simulations[0].policy.version,
        "totals": _totals(simulations[0].tallies.totals),
        "rules": list(rows(simulations[0])),
    }
    if len(simulations) == 1:
        return told
    changed = done.changed
    return {
        **told,
        "current_policy_version": simulations[1].policy.version,
        "current_totals": _totals(simulations[1].tallies.totals),
        "rules": list(differing(*simulations)),
        "changed": {
            "newly_blocked": changed.blocked,
            "newly_blocked_usd": usd(changed.blocked_nanos),
            "newly_allowed": changed.allowed,
            "newly_allowed_usd": usd(changed.allowed_nanos),
            "otherwise": changed.otherwise,
            "cost_usd": usd(changed.cost_nanos),
        },
    }


def rows(simulation: Simulation) -> Iterator[dict[str, Any]]:
    """The most blocked dollars first. Budgets and rules that nothing met stand last."""
    of = simulation.tallies.of
    owners = {*of, *_owners(simulation.policy)}
    for owner in sorted(owners, key=lambda each: (*_weight(of.get(each, _NONE)), each)):
        yield row(owner, of.get(owner, _NONE))


_NONE = Tally()


def _weight(tally: Tally) -> tuple[int, int, int]:
    return -tally.blocked_nanos, -tally.blocked, -tally.hits


def _owners(policy: Policy) -> Iterator[str]:
    yield from (budget.id for budget in (*policy.budgets, *policy.default_team.budgets))
    yield from (rule.rule_id for rule in policy.rules)


def differing(new: Simulation, old: Simulation) -> Iterator[dict[str, Any]]:
    """Two lines for each rule or budget that comes to something else: as it is, and as it would be."""
    after, before = new.tallies.of, old.tallies.of
    owners = {*after, *before}
    for owner in sorted(owners, key=lambda each: (*_weight(after.get(each, _NONE)), each)):
        lines = row(owner, before.get(owner, _NONE)), row(owner, after.get(owner, _NONE))
        if lines[0] != lines[1]:
            yield {"rules": "current", **lines[0]}
            yield {"rules": "edited", **lines[1]}


def row(owner: str, tally: Tally) -> dict[str, Any]:
    worst = tally.worst_hour
    return {
        "owner": owner,
        "blocked": tally.blocked,
        "blocked_usd": usd(tally.blocked_nanos),
        "delayed": tally.delayed,
        "delay_seconds": round(tally.delay_us / 1e6, 3),
        "downgraded": tally.downgraded,
        "capped": tally.capped,
        "saved_usd": usd(tally.saved_nanos),
        "untold": tally.untold,
        "alerts": tally.alerts,
        "trips": tally.trips,
        "shadow": tally.shadow,
        "first_hit": "" if tally.first_at is None else _minute(tally.first_at),
        "worst_hour": "" if worst is None else f"{_minute(worst[0])} ({worst[1]})",
        "teams": _teams(tally.teams),
    }


def _minute(at: int) -> str:
    return f"{instant(at).astimezone(UTC):%Y-%m-%d %H:%M}"


def _teams(teams: dict[str, int]) -> str:
    most = sorted(teams, key=lambda name: (-teams[name], name))
    told = ", ".join(f"{name} {teams[name]}" for name in most[:TEAMS_TOLD_MAX])
    more = len(most) - TEAMS_TOLD_MAX
    return f"{told} and {more} more" if more > 0 else told


_SUMS = (
    *("blocked", "blocked_nanos", "delayed", "delay_us", "downgraded", "capped", "saved_nanos", "untold"),
    *("alerts", "trips", "shadow"),
)


def summed(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for each in tallies:
        for name in _SUMS:
            setattr(total, name, getattr(total, name) + getattr(each, name))
    return total


def _totals(totals: Totals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "charged_usd": usd(totals.nanos),
        "refused_then": totals.refused_then,
        "refused_then_usd": usd(totals.refused_then_nanos),
        "blocked": totals.blocked,
        "blocked_usd": usd(totals.blocked_nanos),
        "newly_blocked": totals.newly_blocked,
        "newly_blocked_usd": usd(totals.newly_blocked_nanos),
        "newly_allowed": totals.newly_allowed,
        "newly_allowed_usd": usd(totals.newly_allowed_nanos),
        "delayed": totals.delayed,
        "delay_seconds": round(totals.delay_us / 1e6, 3),
        "saved_usd": usd(totals.saved_nanos),
    }


def summary(done: Replayed, span: Span) -> Iterator[str]:
    totals = done.simulations[0].tallies.totals
    yield ""
    yield (
        f"{totals.calls:,} calls from {span.since:%Y-%m-%d %H:%M} to {span.until:%Y-%m-%d %H:%M} UTC: "
        f"{usd(totals.nanos)} USD charged, {totals.refused_then:,} refused at the time"
    )
    yield (
        f"under {'the edited' if len(done.simulations) > 1 else 'these'} rules {totals.blocked:,} are refused: "
        f"{totals.newly_blocked:,} that went ({usd(totals.newly_blocked_nanos)} USD) and "
        f"{totals.blocked - totals.newly_blocked:,} that were refused; {totals.newly_allowed:,} go that were refused "
        f"({usd(totals.newly_allowed_nanos)} USD, as estimated)"
    )
    if len(done.simulations) > 1:
        changed = done.changed
        yield (
            f"against the current rules: {changed.blocked:,} more are refused ({usd(changed.blocked_nanos)} USD), "
            f"{changed.allowed:,} no longer ({usd(changed.allowed_nanos)} USD), {changed.otherwise:,} go otherwise"
        )
