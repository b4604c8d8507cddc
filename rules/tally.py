"""What a replay comes to: for each rule and budget the calls it touched, and for all of them together."""

from dataclasses import dataclass, field

HOUR_US = 3_600_000_000


@dataclass(slots=True)
class Tally:
    """Of one rule, budget or allowance. Money in nano-dollars, times in microseconds since 1970."""

    blocked: int = 0
    blocked_nanos: int = 0  # as charged at the time; as estimated, of calls that were refused then
    delayed: int = 0  # by a throttle rule, or in line for a place among the calls in flight
    delay_us: int = 0
    downgraded: int = 0
    capped: int = 0
    saved_nanos: int = 0  # by cheaper models and shorter answers
    untold: int = 0  # edits whose money no price tells
    alerts: int = 0
    trips: int = 0  # of its breakers
    shadow: int = 0  # calls that it would have acted on, were it enforced
    first_at: int | None = None
    hours: dict[int, int] = field(default_factory=dict)  # hits by hour since 1970
    teams: dict[str, int] = field(default_factory=dict)  # hits

    def hit(self, at: int, team: str) -> None:
        if self.first_at is None:
            self.first_at = at
        hour = at // HOUR_US
        self.hours[hour] = self.hours.get(hour, 0) + 1
        self.teams[team] = self.teams.get(team, 0) + 1

    @property
    def hits(self) -> int:
        return sum(self.teams.values())

    @property
    def worst_hour(self) -> tuple[int, int] | None:
        """Its start in microseconds since 1970, and its hits; the earliest of several."""
        if not self.hours:
            return None
        hour = min(self.hours, key=lambda each: (-self.hours[each], each))
        return hour * HOUR_US, self.hours[hour]


@dataclass(slots=True)
class Totals:
    """Of all calls that were replayed."""

    calls: int = 0
    nanos: int = 0  # charged at the time
    refused_then: int = 0
    refused_then_nanos: int = 0  # as estimated
    blocked: int = 0
    blocked_nanos: int = 0
    newly_blocked: int = 0  # that went at the time
    newly_blocked_nanos: int = 0
    newly_allowed: int = 0  # that were refused at the time
    newly_allowed_nanos: int = 0
    delayed: int = 0
    delay_us: int = 0
    saved_nanos: int = 0

    def blocked_one(self, stake: int, *, paid: int, then: bool) -> None:
        """A call that is refused. `stake`: what that keeps from being spent; `then`: was it refused when it came?"""
        self._count(stake, paid, then)
        self.blocked += 1
        self.blocked_nanos += stake
        if not then:
            self.newly_blocked += 1
            self.newly_blocked_nanos += stake

    def let_one_go(self, stake: int, *, paid: int, then: bool, delay_us: int, saved: int) -> None:
        self._count(stake, paid, then)
        self.delayed += delay_us > 0
        self.delay_us += delay_us
        self.saved_nanos += saved
        if then:
            self.newly_allowed += 1
            self.newly_allowed_nanos += stake

    def _count(self, stake: int, paid: int, then: bool) -> None:
        self.calls += 1
        self.nanos += paid
        if then:
            self.refused_then += 1
            self.refused_then_nanos += stake


@dataclass(slots=True)
class Changed:
    """What one policy does to calls that another treats otherwise."""

    blocked: int = 0
    blocked_nanos: int = 0
    allowed: int = 0
    allowed_nanos: int = 0
    otherwise: int = 0  # go under both, but slower, shorter or to another model under one
    cost_nanos: int = 0  # by how much what was let through costs more


@dataclass(slots=True)
class Tallies:
    """By the id of a rule or budget, or the name of an allowance such as `team:search:rate`."""

    of: dict[str, Tally] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)

    def __getitem__(self, owner: str) -> Tally:
        tally = self.of.get(owner)
        if tally is None:
            tally = self.of[owner] = Tally()
        return tally
