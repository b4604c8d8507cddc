"""What limits count."""

from enum import StrEnum


class Measure(StrEnum):
    """What a counter or a bucket counts. Spend is in nano-dollars; the others are plain counts."""

    SPEND = "spend"
    REQUESTS = "requests"
    TOKENS = "tokens"  # input and output
    CONCURRENT = "concurrent"  # calls in flight: one is held by each, none is ever spent
