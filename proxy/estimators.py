"""Token counters of installed plug-ins, for the models that the configuration gives them. Ours stands behind each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pricing.tokens import COUNTED_BYTES_MAX, Counter, Prompt, TokenCount, text_bytes
from proxy import clock, log, metrics
from proxy.plugins import ESTIMATORS, Plugin, PluginFailed
from rules.glob import Globs

COUNT_SECONDS = 0.5
TOLD_EVERY_SECONDS = 60.0  # a log line for each failed call would drown the rest
FAILED = "estimator failed"

CountText = Callable[[str, str], object]
"""What a plug-in is: (text, model) -> tokens, or whatever it gives in their place."""


class Counts(Protocol):
    """What estimates ask: our own counter is one, and so is one with plug-ins before it."""

    def count(self, prompt: Prompt, model: str) -> TokenCount: ...

    def bound(self, prompt: Prompt, model: str) -> TokenCount: ...


class Estimators:
    """Safe to share between threads. `count` may block for COUNT_SECONDS where `is_outside`: never call it on the loop
    then. It moves what a call is expected to cost; the most that it may cost never falls below our own figure."""

    def __init__(self, counter: Counter, named: Mapping[str, str]) -> None:
        """`named`: globs of models, each with the name of a plug-in; the first that matches counts."""
        plugins = {name: Plugin(ESTIMATORS, name) for name in named.values()}
        self._counter = counter
        self._outside = [(Globs((glob,)), plugins[name]) for glob, name in named.items()]
        self._plugins = list(plugins.values())
        self._told: dict[str, float] = {}

    def load(self) -> None:
        """At the start, so that no call waits for it. Blocks; a plug-in that cannot be loaded is told, and ours counts."""
        for plugin in self._plugins:
            try:
                plugin.load()
            except PluginFailed as error:
                self._tell(plugin, str(error))

    def is_outside(self, model: str) -> bool:
        return bool(self._outside) and self._of(model) is not None

    def bound(self, prompt: Prompt, model: str) -> TokenCount:
        return self._counter.bound(prompt, model)

    def count(self, prompt: Prompt, model: str) -> TokenCount:
        plugin = self._of(model)
        texts = [text for text in (*prompt.texts, *prompt.tools, prompt.schema) if text]
        own = self._counter.count(prompt, model)
        if plugin is None or not texts or text_bytes(prompt) > COUNTED_BYTES_MAX:
            return own
        try:
            tokens = plugin.call(lambda function: _counted(function, texts, model), seconds=COUNT_SECONDS)
        except PluginFailed as error:
            return self._without(plugin, own, str(error))
        basis = f"estimator {plugin.name}"
        made = self._counter.counted_outside(prompt, model, own, text_tokens=tokens, basis=basis)
        if made is None:
            return self._without(plugin, own, f"{tokens} tokens of text cannot be: we count {own.tokens}")
        return made

    def _of(self, model: str) -> Plugin | None:
        return next((plugin for globs, plugin in self._outside if globs.match(model)), None)

    def _without(self, plugin: Plugin, own: TokenCount, why: str) -> TokenCount:
        """Ours, with the reason on the call's row."""
        self._tell(plugin, why)
        return TokenCount(own.tokens, own.tokens_max, exact=False, basis=f"{own.basis}; {FAILED}")

    def _tell(self, plugin: Plugin, why: str) -> None:
        metrics.ESTIMATOR_FAILURES.labels(plugin.name).inc()
        now = clock.monotonic()
        if now - self._told.get(plugin.name, -TOLD_EVERY_SECONDS) >= TOLD_EVERY_SECONDS:
            self._told[plugin.name] = now
            log.get().error("estimator_failed", estimator=plugin.name, detail=why[:500])


def _counted(function: CountText, texts: Sequence[str], model: str) -> int:
    total = 0
    for text in texts:
        tokens = function(text, model)
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
            raise PluginFailed(f"a count is a whole number, not {str(tokens)[:40]}")
        total += tokens
    return total
