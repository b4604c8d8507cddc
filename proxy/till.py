"""Where a call's money is held, settled and written down: `open` before the first byte goes, `finish` after the last."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from pricing.charge import Basis, Charge, Outcome, Seen, charge_for
from pricing.money import Nanos, usd
from pricing.price import Price
from pricing.tokens import Counter, Prompt
from pricing.usage import Usage
from proxy import log, metrics
from proxy.acting import note_acts, note_shadow
from proxy.auth import Kind
from proxy.callrow import kept
from proxy.dialects import Metered
from proxy.holds import Holds, Moved
from proxy.journal import Journal, JournalUnwritable
from proxy.learned import Learned, is_counted
from proxy.ledger.ship import Shipper
from proxy.opencall import Ending, OpenCall
from proxy.records import Deferred, Opened, Refused, Settled
from proxy.work import is_object_id, kept_query
from rules.alert import Alert, Level, crossings
from rules.counter import Hold, Limit
from rules.policy import Policy, has_hard_limit
from rules.scope import Scope, ScopeKind

FindPrice = Callable[[str, str, datetime], Price | None]
OBSERVED_TEXT_CHARS_MAX = 65_536  # counted exactly up to here at the end of a call; the rest in proportion
OBSERVED_QUARTER_SECONDS = 0.25
_ANSWERS = frozenset({Outcome.ANSWERED, Outcome.BROKEN, Outcome.CLIENT_LEFT})


class Till:
    """The one place that moves money. Its methods are plain functions: no wait can come between a charge and
    the journal."""

    def __init__(
        self,
        *,
        holds: Holds,
        journal: Journal,
        shipper: Shipper,
        counter: Counter,
        find_price: FindPrice,
        learned: Learned,
        soft_allowance: Nanos,
        own_cost: Collection[str] = (),
        policy: Callable[[], Policy] | None = None,
        ended: Callable[[OpenCall, Charge | None], None] = lambda *_: None,
    ) -> None:
        """`own_cost`: the providers whose own figure goes before their price. `policy` gives the one in force, where it
        may change. `ended` hears of every call that was sent."""
        self._holds = holds
        self._journal = journal
        self._shipper = shipper
        self._counter = counter
        self._find_price = find_price
        self._learned = learned
        self._allowance = soft_allowance
        self._own_cost = own_cost
        self._policy = policy
        self._ended = ended

    def open(self, call: OpenCall, hold: Hold) -> None:
        """Write the hold to disk. Raises JournalUnwritable where the call must not go: under a hard budget, or
        once the allowance for calls without a journal is used up."""
        call.hold = hold
        call.row.held_nanos = max((amount for _, amount in hold.amounts), default=0)
        if call.price is None:
            return  # costs nothing, however it ends
        lost = self._charge(call, Ending(Outcome.LOST, 0))
        assert lost is not None, "what was sent is charged"
        try:
            self._journal.append(Opened(row=call.row, hold=hold, lost=lost))
            call.journaled = True
        except JournalUnwritable:
            hard = any(limit.hold.hard and limit.nanos is not None for limit in call.limits)
            if hard or self._allowance < call.estimate.expected:
                self._holds.release(hold)
                call.hold = None
                raise
            self._allowance = Nanos(self._allowance - call.estimate.expected)
            call.row.flags.append("unjournaled")
            log.get().error(
                "journal_bypassed", request_id=call.row.call_id, allowance_left_usd=usd(self._allowance)
            )

    def finish(self, call: OpenCall, ending: Ending) -> Charge | None:
        """Settle or release the hold, exactly once, and write down what the call cost and why."""
        self._end(call)
        charge = self._surely_charged(call, ending)
        if call.hold is not None:
            self._settle(call, call.hold, charge, ending)
        self._complete_row(call, ending, charge)
        work = _work_left(call, ending) if charge is not None and _goes_on(call, ending) else None
        if work is not None and ending.outcome is Outcome.BROKEN and not ending.error_type:
            # The answer was whole, not the work.
            call.row.outcome, call.row.success = Outcome.ANSWERED.value, True
        self._write(Settled(call.row, charge, tuple(call.alerts), work), call)
        self._learn(call, charge)
        self._ended(call, charge)
        _observe(call, charge, ending)
        return charge

    def refuse(self, call: OpenCall, *, status: int, code: str, reason: str, at: float) -> None:
        """Write down a call that never went."""
        self._end(call)
        call.row.status, call.row.error_type, call.row.reason = status, code, reason
        call.row.outcome = "refused"
        call.row.duration_us = int((at - call.started) * 1e6)
        self._write(Refused(row=call.row, alerts=tuple(call.alerts)), call)
        _log(call, None)

    def _end(self, call: OpenCall) -> None:
        assert not call.ended, f"call {call.row.call_id} ended twice"
        call.ended = True
        metrics.IN_FLIGHT.dec()
        note_acts(call)

    def _surely_charged(self, call: OpenCall, ending: Ending) -> Charge | None:
        """A fault of ours in reading an answer must not make the call free, nor keep its hold."""
        try:
            return self._charge(call, ending)
        except Exception as error:  # noqa: BLE001 - whatever it is
            log.get().error("charge_failed", request_id=call.row.call_id, detail=repr(error)[:300])
            call.row.flags.append("charge_failed")
            sent = ending.outcome is not Outcome.NOT_SENT
            return self._charge(call, Ending(Outcome.FAILED, ending.status)) if sent else None

    def _charge(self, call: OpenCall, ending: Ending) -> Charge | None:
        metered = ending.metered
        if call.price is None:
            return _free(call, ending)
        price = self._served_price(call, metered)
        usage = None if metered is None else metered.usage
        told = metered if call.call.provider in self._own_cost else None
        outcome = ending.outcome
        if metered is not None and not metered.readable and outcome in _ANSWERS:
            outcome = Outcome.UNREADABLE
        if _goes_on(call, ending):
            outcome, usage = Outcome.FAILED, None
        charge = charge_for(
            outcome,
            price=price,
            estimate=call.estimate,
            usage=usage,
            suspect=metered is not None and metered.suspect,
            final=metered is None or metered.final,
            seen=self._seen(call, ending),
            service_tier="" if metered is None else metered.service_tier,
            asked_tier="" if call.reading is None else call.reading.service_tier,
            unpriced=call.unpriced and price is call.price,
            own_cost=None if told is None else told.own_cost,
            own_cost_problem="" if told is None else told.own_cost_problem,
        )
        return charge if charge is None else _until_told(call, ending, charge)

    def _served_price(self, call: OpenCall, metered: Metered | None) -> Price:
        """A served model other than the requested one is charged at the truth, and told."""
        assert call.price is not None, "a free call has no price"
        served = "" if metered is None else metered.served_model
        if not served or served == call.call.model:
            return call.price
        found = self._find_price(call.call.provider, served, call.row.at)
        if found is None:
            if not served.lower().startswith(call.call.model.lower()):
                call.row.flags.append("served_unknown_model")
            return call.price
        if not served.startswith(call.call.model) and found.model != call.price.model:
            call.row.flags.append("served_other_model")
            call.alerts.append(
                _alert(
                    call,
                    "served_other_model",
                    Level.WARNING,
                    f'asked for model "{call.call.model}", the provider served "{kept(served)}": charged as served',
                )
            )
        return found

    def _seen(self, call: OpenCall, ending: Ending) -> Seen:
        """Output that passed through us, for calls whose usage block is missing or not to be believed."""
        metered = ending.metered
        # Pictures and sound are made, and billed, as a whole: also where nobody waits for them.
        is_media = call.reading is not None and call.reading.media is not None
        whole = is_media and ending.outcome in (Outcome.BROKEN, Outcome.CLIENT_LEFT)
        made = call.estimate.output_tokens if whole else 0
        if metered is None:
            return Seen(output_tokens=made)
        text = metered.output_text
        if not text:
            return Seen(output_tokens=max(made, metered.output_tokens_seen))
        sample = text[:OBSERVED_TEXT_CHARS_MAX]
        count = self._counter.count(Prompt(texts=(sample,)), call.call.model).tokens
        tokens = -(-count * len(text) // len(sample))
        seconds = max(ending.at - (call.first_byte_at or ending.at), OBSERVED_QUARTER_SECONDS)
        return Seen(
            output_tokens=max(made, tokens),
            quarter_second_tokens=-int(-tokens * OBSERVED_QUARTER_SECONDS // seconds),
        )

    def _settle(self, call: OpenCall, hold: Hold, charge: Charge | None, ending: Ending) -> None:
        if charge is None:
            self._holds.release(hold)
            return
        moved = self._holds.settle(hold, charge.nanos, tokens=_tokens_of(charge))
        call.alerts += _crossed(call, call.policy, call.limits, moved)
        in_force = call.policy if self._policy is None else self._policy()
        if in_force is not call.policy:
            # A budget that came while the call went on hears of it too; what both know is sent once, by its key.
            limits = in_force.limits(call.call, call.key.budgets)
            call.alerts += _crossed(call, in_force, limits, moved)
        if charge.nanos > call.estimate.ceiling and ending.outcome is not Outcome.LOST:
            call.row.flags.append("hold_exceeded")
            call.alerts.append(
                _alert(
                    call,
                    "hold_exceeded",
                    Level.CRITICAL,
                    f"cost ${usd(charge.nanos)}, more than the ${usd(call.estimate.ceiling)} it could cost at most",
                )
            )

    def _complete_row(self, call: OpenCall, ending: Ending, charge: Charge | None) -> None:
        row, metered = call.row, ending.metered
        row.status, row.outcome = ending.status, ending.outcome.value
        row.error_type = ending.error_type
        row.success = ending.outcome is Outcome.ANSWERED
        row.response_bytes = ending.response_bytes
        row.duration_us = int((ending.at - call.started) * 1e6)
        if call.first_byte_at is not None:
            row.ttft_us = int((call.first_byte_at - call.started) * 1e6)
        if metered is not None:
            row.served_model = kept(metered.served_model)
            row.provider_id = kept(metered.provider_id)
            row.service_tier = kept(metered.service_tier) or row.service_tier
        if charge is None:
            return
        row.price_version = charge.price_version
        for flag in charge.flags:
            metrics.FLAGS.labels(flag).inc()
            if flag in ("usage_suspect", "unknown_price"):
                call.alerts.append(_alert(call, flag, Level.WARNING, charge.reason or flag.replace("_", " ")))

    def _write(self, record: Settled | Refused, call: OpenCall) -> None:
        segment = None
        try:
            segment = self._journal.append(record)
        except JournalUnwritable as error:
            # The hold is settled in memory; the ledger still gets the row, only a crash before that would lose it.
            log.get().error("journal_unwritable", request_id=call.row.call_id, detail=str(error))
        self._shipper.submit(record, segment)

    def _learn(self, call: OpenCall, charge: Charge | None) -> None:
        """Only from whole answers whose length the provider told, and for which somebody pays."""
        reading, row = call.reading, call.row
        if charge is None or reading is None or call.price is None:
            return
        if charge.basis is not Basis.REPORTED or not row.success:
            return
        model, operation = call.call.model, call.call.operation.value
        if reading.has_output and reading.media is None:
            per_choice = -(-charge.usage.output_tokens // max(1, reading.choices))
            self._learned.record(call.call.team, model, operation, per_choice)
        if is_counted(row.estimate_basis):
            self._learned.record_input(
                model, counted=row.estimate_input_tokens, billed=charge.usage.input_tokens
            )


def _crossed(
    call: OpenCall, policy: Policy, limits: Sequence[Limit], moved: Sequence[Moved]
) -> Iterator[Alert]:
    """The thresholds of a policy's budgets, and of the key's own, that the call's settled cost has passed."""
    budgets = {budget.id: budget for budget in (*policy.budgets_of(call.call), *call.key.budgets)}
    for limit in limits:
        budget = budgets.get(limit.owner)
        for move in moved:
            if budget is not None and move.counter == limit.counter:
                yield from crossings(budget, move.counter, move.before, move.after, call.row.at)


def _tokens_of(charge: Charge) -> int | None:
    """None where nobody told or saw any: the estimate stands."""
    return (charge.usage.input_tokens + charge.usage.output_tokens) or None


def _goes_on(call: OpenCall, ending: Ending) -> bool:
    """Is the provider still at work after its answer? Whether or not anyone listens."""
    if call.reading is None or not call.billable or not call.goes_on or ending.outcome not in _ANSWERS:
        return False
    return call.reading.batch is not None or ending.metered is None or not ending.metered.complete


def _until_told(call: OpenCall, ending: Ending, charge: Charge) -> Charge:
    """What stands for work whose end is not known: under a hard budget its ceiling, as was held. A batch's own estimate
    goes before its tokens at one price: it is the sum of many requests, of many models perhaps."""
    batch = None if call.reading is None else call.reading.batch
    if batch is not None and charge.nanos:
        charge = replace(charge, nanos=call.estimate.expected)
    if not _goes_on(call, ending):
        return charge
    reason = "the work goes on in the background: charged as estimated until its end is told"
    if has_hard_limit(call.limits):
        charge = replace(charge, nanos=max(charge.nanos, call.estimate.ceiling))
        reason = "the work goes on: held at its ceiling until its end is told"
    if _work_left(call, ending) is None:
        reason = "the work goes on, and the provider told no id to ask for its end by: charged as estimated"
    return replace(charge, reason=reason)


def _work_left(call: OpenCall, ending: Ending) -> Deferred | None:
    """What it takes to charge that work at its end. None where its id is not known: the estimate then stands."""
    object_id = "" if ending.metered is None else ending.metered.provider_id
    if call.reading is None or not is_object_id(object_id):
        return None
    batch = call.reading.batch
    return Deferred(
        object_id,
        call.route.path.rstrip("/"),
        asked_tier=call.reading.service_tier,
        unpriced=call.unpriced,
        endpoint="" if batch is None else batch.endpoint,
        query=kept_query(call.route.query),
        several=len(call.models) > 1,
    )


def _free(call: OpenCall, ending: Ending) -> Charge | None:
    """Calls that cost nothing: of test keys, of free paths, and where `unknown_model: allow_unmetered` says so. Their
    usage is still told."""
    if call.reading is None or ending.outcome is not Outcome.ANSWERED:
        return None
    usage = (None if ending.metered is None else ending.metered.usage) or Usage()
    if call.key.kind is Kind.TEST:
        return Charge(Nanos(0), Basis.REPORTED, usage, "", ("test",), "test keys cost nothing")
    if call.surface.kind == "free":
        usage = usage if usage.input_tokens else Usage(input_tokens=call.estimate.input_tokens)
        return Charge(Nanos(0), Basis.REPORTED, usage, "", (), "this path is free")
    reason = "no price is known, and unknown_model is allow_unmetered"
    return Charge(Nanos(0), Basis.REPORTED, usage, "", ("unknown_price",), reason)


def _alert(call: OpenCall, kind: str, level: Level, message: str) -> Alert:
    scope = Scope(ScopeKind.TEAM, call.call.team)
    facts = {"call_id": call.row.call_id, "model": call.call.model, "provider": call.call.provider}
    return Alert(f"{kind}:{call.row.call_id}", kind, level, call.row.at, scope, message, facts)


def _observe(call: OpenCall, charge: Charge | None, ending: Ending) -> None:
    row = call.row
    team, model = metrics.bounded("team", row.team), metrics.bounded("model", row.model)
    metrics.calls(team, model, row.provider, row.outcome).inc()
    metrics.DURATION.labels(row.provider).observe(row.duration_us / 1e6)
    if row.ttft_us:
        metrics.FIRST_BYTE.labels(row.provider).observe(row.ttft_us / 1e6)
    if charge is not None:
        metrics.cost(team, model, charge.basis.value).inc(charge.nanos / 1e9)
        metrics.tokens(team, model, "input").inc(charge.usage.input_tokens)
        metrics.tokens(team, model, "output").inc(charge.usage.output_tokens)
    note_shadow(call, charge)
    _log(call, charge)


def _log(call: OpenCall, charge: Charge | None) -> None:
    row = call.row
    log.get().info(
        "call_ended",
        request_id=row.call_id,
        trace_id=row.trace_id or None,
        path=row.path,
        status=row.status,
        error_code=row.error_type or None,
        duration_ms=row.duration_us // 1000,
        team=row.team,
        key_id=row.key_id,
        provider=row.provider,
        model=row.model,
        outcome=row.outcome,
        cost_usd=None if charge is None else usd(charge.nanos),
        basis=None if charge is None else charge.basis.value,
    )
