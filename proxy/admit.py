"""May this call go, and with how much money held? Price, estimate, decide, place, journal: in that order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pricing.estimate import FREE, NOTHING, Ask, Estimate, estimate
from pricing.overrides import Prices
from pricing.price import Price
from pricing.tokens import Counter, TokenCount, text_bytes
from proxy import clock, log, metrics
from proxy.dialects import Reading
from proxy.errors import Refused, Unavailable, busy, refused
from proxy.holds import Busy, Crowded, Holds, Line, OverBudget
from proxy.journal import JournalUnwritable
from proxy.learned import BEYOND_ONE, BEYOND_TEXT, Learned, is_counted
from proxy.opencall import OpenCall
from proxy.settings import Config
from proxy.till import Till
from rules.call import Call
from rules.counter import HoldMode, Limit, claims_of
from rules.decide import Decision, Verdict, decide, refusal_of_limit

INLINE_BYTES_MAX = 8_192  # of text: counted on the spot, 18 us a kB
COUNTS_QUEUED_MAX = 64  # beyond that the byte bound is held instead
AMPLE_FACTOR = 2  # room for twice the upper end: the exact count cannot change the verdict
CAP_TOKENS_MIN = 16  # a smaller answer is of use to nobody


@dataclass(slots=True)
class Admission:
    """Turns a read call into a held one, or raises the refusal. Waits only for a budget, or for a long count."""

    config: Config
    book: Prices
    counter: Counter
    pool: ThreadPoolExecutor
    holds: Holds
    till: Till
    learned: Learned
    seed: Callable[[OpenCall], Awaitable[None] | None]
    _queued: int = field(default=0)

    def must_be_strict(self, call: OpenCall) -> bool:
        """Doubled keys in long bodies matter where the model or the limits in them are enforced."""
        return call.policy.is_strict_for(call.call, call.key.budgets)

    async def admit(self, call: OpenCall) -> None:
        call.limits = call.policy.limits(call.call, call.key.budgets)
        if call.reading is not None and call.reading.background:
            _note_background(call)
        self._find_price(call)
        assert call.reading is not None, "an unread call cannot be admitted"
        prompt, model = call.reading.prompt, call.call.model
        if text_bytes(prompt) <= INLINE_BYTES_MAX:
            self._take(call, self.counter.count(prompt, model))
        else:
            await self._count_long(call)
        try:
            await self._place(call)
        except JournalUnwritable as error:
            raise Unavailable(
                503,
                "journal_unavailable",
                "Spendgate cannot write its journal, and this call is under a hard budget: try again shortly.",
                kind="api_error",
                retry_after_seconds=2,
            ) from error

    def count_free(self, call: OpenCall) -> None:
        """For the row alone; by bytes where that is a long text."""
        assert call.reading is not None, "an unread call cannot be counted"
        prompt, model = call.reading.prompt, call.reading.model
        counts = self.counter.count if text_bytes(prompt) <= INLINE_BYTES_MAX else self.counter.bound
        count = counts(prompt, model)
        call.estimate = replace(FREE, input_tokens=count.tokens, input_tokens_max=count.tokens_max)

    def _find_price(self, call: OpenCall) -> None:
        call.price, known = price_of(self.config, self.book, call.call, call.reading, call.limits)
        if call.price is None:
            call.row.flags.append("unmetered")
            return
        call.unpriced = not known
        call.row.price_version = call.price.version

    def _take(self, call: OpenCall, count: TokenCount, *, cap: int | None = None) -> None:
        call.estimate = self._estimate(call, count, cap=cap)
        _note_estimate(call)

    def _estimate(self, call: OpenCall, count: TokenCount, *, cap: int | None = None) -> Estimate:
        if call.price is None:
            return call.estimate
        reading = call.reading
        assert reading is not None, "an unread call cannot be estimated"
        return estimate_of(reading, count, call.price, habit_of(self.learned, call.call, reading), cap=cap)

    async def _count_long(self, call: OpenCall) -> None:
        """Long text: where the byte bound decides already, the call goes at once and the count runs beside it."""
        assert call.reading is not None, "an unread call cannot be counted"
        prompt, model = call.reading.prompt, call.call.model
        bound = self.counter.bound(prompt, model)
        self._take(call, bound)
        if self._queued >= COUNTS_QUEUED_MAX:
            return
        self._queued += 1
        counting = asyncio.get_running_loop().run_in_executor(self.pool, self.counter.count, prompt, model)
        counting.add_done_callback(self._counted)
        if self._is_ample(call):
            counting.add_done_callback(lambda done: self._note_beside(call, done))
            return
        self._take(call, await asyncio.shield(counting))

    def _counted(self, counting: "asyncio.Future[TokenCount]") -> None:
        self._queued -= 1
        if not counting.cancelled() and counting.exception() is not None:
            log.get().error("count_failed", detail=str(counting.exception())[:200])

    def _note_beside(self, call: OpenCall, counting: "asyncio.Future[TokenCount]") -> None:
        """The row shows tiktoken's figure although the byte bound was held."""
        if call.ended or counting.cancelled() or counting.exception() is not None:
            return
        exact = self._estimate(call, counting.result())
        call.row.estimate_input_tokens = exact.input_tokens
        call.row.estimate_expected_nanos = exact.expected
        call.row.estimate_basis = f"{exact.basis}; held at the byte bound"

    def _is_ample(self, call: OpenCall) -> bool:
        """The same verdict at both ends of the interval, and room for twice the upper end under every limit."""
        upper = self._decide(call)
        lower = self._decide(call, self._estimate(call, TokenCount(0, 0, exact=False, basis="none")))
        if upper.verdict is not Verdict.ALLOW or lower.verdict is not upper.verdict:
            return False
        for claim in claims_of(upper.limits, call.estimate):
            balance = self.holds.balance(claim.counter)
            for limit in claim.limits:
                room = None if limit.nanos is None else limit.nanos - balance.spent - balance.held
                if room is not None and room < AMPLE_FACTOR * claim.amount:
                    return False
        return True

    def _decide(self, call: OpenCall, at_estimate: Estimate | None = None) -> Decision:
        return decide(
            call.policy,
            call.call,
            at_estimate or call.estimate,
            key_budgets=call.key.budgets,
            balances=self.holds.balance,
            now=clock.now(),
        )

    async def _place(self, call: OpenCall) -> None:
        seeding = self.seed(call)
        if seeding is not None:
            await seeding
        try:
            await self._place_once(call, None)
        except OverBudget as over:
            if not await self._place_capped(call, over):
                raise self._refusal(call, over) from over
        except Crowded as crowded:
            if not await self._place_capped(call, crowded):
                await self._place_in_turn(call, crowded)

    async def _place_once(self, call: OpenCall, line: Line | None) -> None:
        """Decide and place; the journal follows without a wait in between, so that no hold can be stranded."""
        decision = self._decide(call)
        _note_decision(call, decision)
        if decision.refusal is not None:
            raise refused(decision.refusal, status=self._status(decision.refusal.code))
        call.limits = decision.limits
        claims = claims_of(decision.limits, call.estimate)
        hold = await self.holds.place(call.row.call_id, claims, call.row.at, line=line)
        _note_limits(call, self.holds)
        self.till.open(call, hold)

    async def _place_in_turn(self, call: OpenCall, crowded: Crowded) -> None:
        """Only other open holds are in the way: wait in line, first come first served."""
        since = clock.monotonic()
        try:
            async with self.holds.line(crowded.limit.counter, self.config.hold_wait_seconds) as line:
                while True:
                    await line.turn()
                    try:
                        await self._place_once(call, line)
                        return
                    except Crowded as still:
                        crowded = still
                    except OverBudget as over:
                        raise self._refusal(call, over) from over
        except Busy as error:
            waited = clock.monotonic() - since
            refusal = refusal_of_limit(
                crowded.limit, self.holds.balance(crowded.limit.counter), crowded.amount, call.call
            )
            call.row.verdict = Verdict.BLOCK.value
            raise busy(refusal, waited_seconds=waited) from error
        finally:
            waited = clock.monotonic() - since
            call.row.waited_us = int(waited * 1e6)
            metrics.WAITED.observe(waited)

    async def _place_capped(self, call: OpenCall, over: OverBudget | Crowded) -> bool:
        """`hold: capped` lowers max tokens to what the headroom affords, where that still makes an answer."""
        limit, balance = over.limit, over.balance
        api, reading = call.surface.api, call.reading
        assert api is not None, "only a metered call is priced"
        assert reading is not None, "an unread call cannot be capped"
        if limit.hold is not HoldMode.CAPPED or limit.nanos is None:
            return False
        if call.coded or self.config.transparent == "exact" or reading.media is not None:
            return False
        cap = self._affordable_tokens(call, limit.nanos - balance.spent - balance.held)
        if cap is None:
            return False
        self._take(call, self._count_again(call), cap=cap)
        try:
            await self._place_once(call, None)
        except (OverBudget, Crowded):
            return False
        call.body = api.with_output_cap(call.body, reading, cap)
        call.row.verdict = Verdict.CAP.value
        call.row.flags.append("capped")
        return True

    def _count_again(self, call: OpenCall) -> TokenCount:
        counted, _, _ = call.estimate.basis.partition(", ")  # what is told after it is told again
        return TokenCount(
            call.estimate.input_tokens, call.estimate.input_tokens_max, exact=False, basis=counted
        )

    def _affordable_tokens(self, call: OpenCall, headroom: int) -> int | None:
        count = self._count_again(call)
        return affordable_tokens(lambda cap: self._estimate(call, count, cap=cap), call.estimate, headroom)

    def _refusal(self, call: OpenCall, over: OverBudget) -> Refused:
        call.row.verdict = Verdict.BLOCK.value
        call.row.rule_ids.append(over.limit.owner)
        refusal = refusal_of_limit(over.limit, over.balance, over.amount, call.call)
        return refused(refusal, status=self._status(refusal.code))

    def _status(self, code: str) -> int:
        return 403 if code == "model_not_allowed" else self.config.budget_status


@dataclass(frozen=True, slots=True)
class Habit:
    """What earlier calls taught of such a call: the output of one choice, and tokens billed for a thousand counted."""

    output_expected: int | None = None
    input_permille: int | None = None


def habit_of(learned: Learned, call: Call, reading: Reading) -> Habit:
    """What such calls usually put out; of pictures and sound what this very call asks for."""
    if reading.media is not None:
        return Habit(reading.media.output_expected)
    return Habit(
        learned.expected(call.team, call.model, call.operation.value), learned.input_permille(call.model)
    )


def estimate_of(
    reading: Reading, count: TokenCount, price: Price, habit: Habit, *, cap: int | None = None
) -> Estimate:
    """What a read call will likely cost, and what it can cost at most. How input is usually billed moves `expected`
    alone: the ceiling, and the tokens that the estimate tells, stay as they were counted."""
    ask = Ask(
        choices=reading.choices,
        output_tokens_max=reading.output_tokens_max if cap is None else cap,
        output_tokens_beside=reading.output_tokens_beside,
        output_expected=habit.output_expected,
        has_output=reading.has_output,
        service_tier=reading.service_tier,
        likely=NOTHING if reading.media is None else reading.media.likely,
        most=NOTHING if reading.media is None else reading.media.most,
        mixed=bool(reading.prompt.images or reading.prompt.attachment_bytes),
    )
    hidden = reading.prompt.hidden
    made = estimate(count, price, ask, hidden=hidden)
    told = "" if is_text_alone(reading) else f", {BEYOND_TEXT}"
    if reading.has_output and reading.choices > 1:
        told += f", {reading.choices}{BEYOND_ONE}"
    likely = billed_of(count, reading, habit)
    expected = made.expected
    if likely != count.tokens:
        expected = estimate(replace(count, tokens=likely), price, ask, hidden=hidden).expected
        told += f", input x {Decimal(habit.input_permille or 0) / 1000}"
    return replace(made, expected=expected, basis=made.basis + told) if told else made


def billed_of(count: TokenCount, reading: Reading, habit: Habit) -> int:
    """Input tokens as they will likely be billed. Only text that was counted is corrected."""
    permille = habit.input_permille
    if permille is None or permille == 1000 or not (is_counted(count.basis) and is_text_alone(reading)):
        return count.tokens
    return -(-count.tokens * permille // 1000)


def is_text_alone(reading: Reading) -> bool:
    """Is all that the model reads in the body, as text? Pictures and files are bounded, not counted."""
    prompt = reading.prompt
    return reading.media is None and not (prompt.hidden or prompt.images or prompt.attachment_bytes)


def affordable_tokens(
    estimate_at: Callable[[int], Estimate], uncapped: Estimate, headroom: int
) -> int | None:
    """The most output tokens a choice whose ceiling fits the headroom; None where too few would."""
    low, high = 0, uncapped.output_tokens_max
    while low < high:
        middle = (low + high + 1) // 2
        if estimate_at(middle).ceiling <= headroom:
            low = middle
        else:
            high = middle - 1
    return low if low >= CAP_TOKENS_MIN else None


def price_of(
    config: Config, book: Prices, call: Call, reading: Reading | None, limits: Sequence[Limit]
) -> tuple[Price | None, bool]:
    """The price of a call, and whether it is that of its own model. None: it goes unmetered. Raises Refused."""
    prices = config.price_provider(call.provider)
    price = book.find(prices, call.model, call.at)
    if price is not None and not _is_of_other_unit(price, reading):
        return price, True
    hard = any(limit.hold.hard and limit.nanos is not None for limit in limits)
    if hard or config.unknown_model == "deny":
        near = book.suggest(prices, call.model)
        hint = f' Did you mean "{near}"?' if near else ""
        why = "a hard budget covers this call" if hard else "unknown_model is deny"
        raise Refused(
            403,
            "unknown_model",
            f'no price is known for model "{call.model[:80]}" of {call.provider}, and {why}.{hint} '
            "Add a price, or use a model from the catalogue.",
            kind="permission_error",
            param="model",
        )
    if config.unknown_model == "allow_unmetered":
        return None, False
    return book.dearest(prices, call.at), False


def _is_of_other_unit(price: Price, reading: Reading | None) -> bool:
    """Is a model billed by a unit that this call has none of, such as a chat with one that is billed by the second? Its
    tokens would cost nothing: its price for them is unknown."""
    rates = price.standard.rates
    most = NOTHING if reading is None or reading.media is None else reading.media.most
    units = (
        (rates.characters, most.characters),
        (rates.audio_hour, most.audio_seconds),
        (rates.message, most.messages),
        (rates.page, most.pages),
    )
    priced = [used for rate, used in units if rate is not None]
    return not price.by_token and bool(priced) and not any(priced)


def _note_background(call: OpenCall) -> None:
    """The answer tells no cost yet, and is not asked for it later."""
    if any(limit.hold.hard and limit.nanos is not None for limit in call.limits):
        raise Refused(
            403,
            "background_not_metered",
            "a hard budget covers this call, and work in the background is not metered: send it without background.",
            kind="permission_error",
            param="background",
        )
    call.row.flags.append("background")


def _note_estimate(call: OpenCall) -> None:
    row, made = call.row, call.estimate
    row.estimate_expected_nanos, row.estimate_ceiling_nanos = made.expected, made.ceiling
    row.estimate_confidence, row.estimate_basis = made.confidence, made.basis
    row.estimate_input_tokens, row.estimate_output_tokens = made.input_tokens, made.output_tokens


def _note_decision(call: OpenCall, decision: Decision) -> None:
    row = call.row
    row.verdict, row.reason = decision.verdict.value, decision.reason
    row.rule_ids, row.shadow_ids = list(decision.matched), list(decision.shadow)
    call.alerts = list(decision.alerts)


def _note_limits(call: OpenCall, holds: Holds) -> None:
    call.row.limits = [
        {
            "counter": str(limit.counter),
            "owner": limit.owner,
            "limit": limit.nanos,
            "spent": balance.spent,
            "held": balance.held,
        }
        for limit in call.limits
        for balance in (holds.balance(limit.counter),)
    ]
