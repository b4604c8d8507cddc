"""Where the source says less than the providers' own pages do: facts that are added when the files are made."""

from collections.abc import Iterator
from typing import Any

# Free of charge, as the provider or the gateway says. All else without a price is left out: it is unknown, not free.
FREE = {
    ("openai", "moderation"),
    ("google", "gemma-3"),
    ("google", "gemma-3n"),
    ("google", "gemma-4-26b-a4b-it"),
    ("google", "gemma-4-31b-it"),
    # Included in the subscription: no rate on the pricing page, a token cost of zero in the answers.
    ("github-copilot", "gpt-3.5-turbo"),
    ("github-copilot", "gpt-4.1"),
    ("github-copilot", "gpt-4o"),
    ("github-copilot", "gpt-4o-mini"),
}
FREE_SUFFIX = ":free"

# Other names of providers, as client libraries and gateways write them.
ALIASES = {
    "aws": ("bedrock", "amazon-bedrock", "aws-bedrock", "amazon_bedrock", "amazon"),
    "azure": ("azure-openai", "azure_openai", "azureopenai", "azure-ai", "azure_ai"),
    "cloudflare": ("cloudflare-workers-ai", "workers-ai"),
    "cohere": ("cohere_chat",),
    "fireworks": ("fireworks-ai", "fireworks_ai"),
    "github-copilot": ("copilot", "github_copilot"),
    "google": ("gemini", "google-gla", "google-vertex", "vertex", "vertex_ai", "vertexai"),
    "mistral": ("mistralai", "mistral-ai", "mistral_ai"),
    "moonshotai": ("moonshot", "moonshot-ai"),
    "novita": ("novita-ai", "novita_ai"),
    "together": ("together-ai", "together_ai", "togetherai"),
    "voyageai": ("voyage", "voyage-ai"),
    "x-ai": ("xai", "x_ai", "grok"),
    "zai": ("z-ai", "z.ai"),
    "zhipuai": ("zhipu", "zhipu-ai"),
}

# Fine-tuned models, in nano-dollars a million: input, cached input, output. https://platform.openai.com/docs/pricing
FINE_TUNED = {
    "ft:gpt-4.1": (3_000_000_000, 750_000_000, 12_000_000_000),
    "ft:gpt-4.1-mini": (800_000_000, 200_000_000, 3_200_000_000),
    "ft:gpt-4.1-nano": (200_000_000, 50_000_000, 800_000_000),
    "ft:o4-mini": (4_000_000_000, 1_000_000_000, 16_000_000_000),
    "ft:gpt-4-0613": (30_000_000_000, 30_000_000_000, 60_000_000_000),
    "ft:davinci-002": (12_000_000_000, 12_000_000_000, 12_000_000_000),
    "ft:babbage-002": (1_600_000_000, 1_600_000_000, 1_600_000_000),
}
# Anthropic's that cannot be told to stay in the United States. All later ones can, and then each token costs a
# tenth more; searches do not. https://platform.claude.com/docs/en/manage-claude/data-residency
NOT_IN_THE_US = (
    *("claude-2", "claude-3", "claude-v1", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-5"),
    *("claude-sonnet-4-0", "claude-sonnet-4-5", "claude-haiku-4-5"),
)
NO_TOKENS = ("web_search", "file_search", "request", "message", "page", "annotated_page")
AUDIO_SECONDS_MIN = {  # https://groq.com/pricing: each call is billed as ten seconds at least
    ("groq", "whisper-large-v3"): 10,
    ("groq", "whisper-large-v3-turbo"): 10,
}
# Old completion models, whose words out cost what words in cost; the source has only the one price.
ONE_PRICE = {("azure", name) for name in ("ada", "babbage", "curie", "davinci")}


def is_free(provider: str, model: str) -> bool:
    return model.endswith(FREE_SUFFIX) or (provider, model) in FREE


def correct(provider: str, entry: dict[str, Any]) -> None:
    """Adds to one entry, in place, what is known besides."""
    name = (provider, entry["id"])
    if name == ("openai", "moderation"):
        # Theirs matches whatever holds the word: a fine-tuned model of that name would be free.
        entry["match"] = {"regex": "^(omni|text)-moderation"}
    for rates in _every_rates(entry):
        if provider == "openai" and "cache_write" in rates:
            # Kept for twelve hours a written token costs twice a plain one, and 1.25 times by default.
            rates["cache_write_12h"] = 2 * rates["input"]
        if name in ONE_PRICE:
            rates.setdefault("output", rates["input"])
    if provider == "anthropic" and not entry["id"].startswith(NOT_IN_THE_US):
        _add_us(entry)
    if name in AUDIO_SECONDS_MIN:
        entry["audio_seconds_min"] = AUDIO_SECONDS_MIN[name]


def added(provider: str) -> Iterator[dict[str, Any]]:
    """Entries of models that the source does not have."""
    if provider == "openai":
        for name, (given, cached, written) in FINE_TUNED.items():
            rates = {"input": given, "cache_read": cached, "output": written}
            yield {"id": name, "prices": [{"from": None, "standard": {"rates": rates}}]}


def _add_us(entry: dict[str, Any]) -> None:
    for period in entry["prices"]:
        for holder in (period, *period.get("windows", ())):
            known = {"": holder["standard"], **holder.get("variants", {})}
            made = {f"us-{tier}" if tier else "us": _dearer(tariff) for tier, tariff in known.items()}
            holder["variants"] = {**holder.get("variants", {}), **made}


def _dearer(tariff: dict[str, Any]) -> dict[str, Any]:
    """By a tenth, whatever is billed by the token."""
    rates = {
        name: rate if name in NO_TOKENS else -(-rate * 11 // 10) for name, rate in tariff["rates"].items()
    }
    return {
        **tariff,
        "rates": rates,
        **({"tiers": [*map(_dearer, tariff["tiers"])]} if "tiers" in tariff else {}),
    }


def _every_rates(entry: dict[str, Any]) -> Iterator[dict[str, int]]:
    for period in entry["prices"]:
        for holder in (period, *period.get("windows", ())):
            for tariff in (holder["standard"], *holder.get("variants", {}).values()):
                yield tariff["rates"]
                yield from (tier["rates"] for tier in tariff.get("tiers", ()))
