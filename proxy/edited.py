"""The files that may be edited while calls flow: how each is read, and what a good edit swaps."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pricing.overrides import Overrides
from proxy import clock, log
from proxy.config import LoadedConfig, load_price_overrides, load_rules
from proxy.live_prices import LivePrices
from proxy.policy_swap import PolicySwap
from proxy.reload import Edited, Swapped
from proxy.rest import Rest
from rules.policy import Policy


def edited_files(
    loaded: LoadedConfig, rests: Mapping[Path, Rest], swap: PolicySwap, book: LivePrices
) -> list[Edited[Any]]:
    """The files that are watched. A rules file that nobody has written yet is read once it is there."""
    named = replace(loaded, rules_file_is_named=True)

    def read_rules() -> tuple[str, Policy]:
        policy = load_rules(named)
        return policy.version, policy

    rules = rests[loaded.config.rules_file]
    now = clock.now()
    files: list[Edited[Any]] = [
        Edited("rules", rules, read_rules, swap.swap, swap.policy.now.version, now, swap.follow_up)
    ]
    path = loaded.config.prices_file
    if path is None:
        return files

    def read_prices() -> tuple[str, Overrides]:
        overrides = load_price_overrides(loaded, path, book.present.catalogue)
        return overrides.version, overrides

    def swap_prices(overrides: Overrides, at: datetime) -> Swapped:
        book.swap_overrides(overrides, at)
        for warning in overrides.warnings:
            log.get().warning("configuration_warning", detail=warning)
        return Swapped()

    version = book.present.overrides.version
    return [*files, Edited("prices", rests[path], read_prices, swap_prices, version, now)]
