"""The forms in which clients write a model's name, from the one that came to the plainest."""

import re
from collections.abc import Iterator
from datetime import date

_DASHED = re.compile(r"[-@](\d{4}-\d{2}-\d{2})$")
_COMPACT = re.compile(r"[-@](20\d{2})(\d{2})(\d{2})(?=$|:)")
_FINE_TUNED = re.compile(r"ft:([^:]+):")

# Ways of choosing a host for the same model. Others, such as `:extended`, are models with prices of their own.
_ROUTES = (":free", ":nitro", ":floor", ":online", ":exacto")


def forms(provider: str, name: str) -> list[str]:
    """What a name in lower case may be a form of; the first that is known is meant. A fine-tuned model is never taken
    for its base, which is cheaper."""
    return list(dict.fromkeys(_forms(provider, name)))


def _forms(provider: str, name: str) -> Iterator[str]:
    yield name
    plain = name.removeprefix(f"{provider}/")
    yield plain
    plain = plain.rpartition("models/")[2]  # `models/x`, `publishers/google/models/x`
    yield plain
    if provider == "openrouter":
        plain = next((plain.removesuffix(route) for route in _ROUTES if plain.endswith(route)), plain)
        yield plain
    tuned = _FINE_TUNED.match(plain)
    if tuned is not None:
        plain = f"ft:{tuned[1]}"
        yield plain
    dashed = _COMPACT.sub(_with_dashes, plain)
    yield dashed
    yield _DASHED.sub("", dashed)


def _with_dashes(found: re.Match[str]) -> str:
    """`-20241120` is the day of a snapshot, in other writing; what is no day is left alone."""
    try:
        return f"-{date(int(found[1]), int(found[2]), int(found[3])).isoformat()}"
    except ValueError:
        return found[0]


def without_dots(name: str) -> str:
    """As Azure wrote names while its deployments could hold no dot: `gpt-35-turbo`."""
    return name.replace(".", "")
