"""What a rule says of its breakers."""

from datetime import timedelta
from decimal import Decimal

from rules.breaker import Recovery, Terms
from rules.rule import Rule


def terms_of(rule: Rule) -> Terms:
    """Without a breaker: no cooldown, so no memory."""
    threshold = rule.recovery_threshold
    return Terms(
        cooldown=_minutes(rule.cooldown_minutes),
        trial_calls=rule.trial_calls,
        recovery=None if threshold is None else Recovery(threshold, _minutes(rule.recovery_window_minutes)),
    )


def _minutes(count: Decimal) -> timedelta:
    return timedelta(microseconds=int(count * 60_000_000))
