"""What a call of a case costs: as the case says, or by its tokens at the model's price."""

from pricing.estimate import Ask, Estimate, estimate
from pricing.money import nanos
from pricing.overrides import Prices
from pricing.tokens import TokenCount
from rules.call import Call, Operation
from rules.cases import CallSpec
from rules.given import CaseError


def cost_of(asked: CallSpec, call: Call, prices: Prices, max_tokens: int | None) -> Estimate:
    """At the model that is asked for by now, and no longer an answer than `max_tokens`. Raises CaseError without a price."""
    tokens, output = asked.input_tokens or 0, asked.output_tokens or 0
    if asked.estimate_usd is not None:
        expected = nanos(asked.estimate_usd)
        ceiling = expected if asked.ceiling_usd is None else max(expected, nanos(asked.ceiling_usd))
        return Estimate(expected, ceiling, 1.0, "given", tokens, tokens, output, output)
    if asked.input_tokens is None:
        raise CaseError(("call",), "says nothing of its cost", "give estimate_usd, or input_tokens")
    price = prices.find(call.provider, call.model, call.at)
    if price is None:
        raise CaseError(
            ("call",), f'no price is known for "{call.model}"', "give estimate_usd in place of tokens"
        )
    count = TokenCount(tokens, tokens, exact=True, basis="given")
    return estimate(count, price, Ask(1, max_tokens, asked.output_tokens, call.operation is Operation.LLM))
