"""What past calls would have cost with another model, or a shorter answer: by the prices in force when they came."""

from dataclasses import replace

import orjson

from pricing.overrides import Prices
from pricing.price import Price
from pricing.usage import Usage
from proxy.settings import Config
from rules.past import PastCall, instant


class PastCosts:
    """Answers a replay as Costs. The same usage is taken for every model: another one might have put out more or less."""

    def __init__(self, config: Config, prices: Prices) -> None:
        self._config = config
        self._prices = prices

    def cost(self, call: PastCall, model: str, output_tokens: int | None) -> int | None:
        price = self._price(call, model)
        if price is None:
            return None
        usage = _usage(call)
        if output_tokens is not None and output_tokens < usage.output_tokens:
            usage = _cut(usage, output_tokens)
        return price.cost(usage, service_tier=call.tier).nanos

    def affordable(self, call: PastCall, model: str, nanos: int) -> int | None:
        price = self._price(call, model)
        if price is None:
            return None
        low, high = 0, max(call.output_tokens, call.output_charged, price.output_tokens_max or 0)
        while low < high:
            middle = (low + high + 1) // 2
            usage = Usage(input_tokens=call.input_tokens, output_tokens=middle)
            if price.cost(usage, service_tier=call.tier).nanos <= nanos:
                low = middle
            else:
                high = middle - 1
        return low

    def _price(self, call: PastCall, model: str) -> Price | None:
        if call.provider not in self._config.providers:
            return None
        return self._prices.find(self._config.price_provider(call.provider), model, instant(call.at))


def _usage(call: PastCall) -> Usage:
    """What it used, or was estimated to use where that is not known."""
    told = orjson.loads(call.usage) if call.usage else {}
    if told:
        return Usage(**told)
    return Usage(input_tokens=call.input_tokens, output_tokens=call.output_tokens)


def _cut(usage: Usage, tokens: int) -> Usage:
    return replace(
        usage,
        output_tokens=tokens,
        reasoning_tokens=min(usage.reasoning_tokens, tokens),
        output_audio_tokens=min(usage.output_audio_tokens, tokens),
        output_image_tokens=min(usage.output_image_tokens, tokens),
        output_video_tokens=min(usage.output_video_tokens, tokens),
        citation_tokens=min(usage.citation_tokens, tokens),
    )
