"""Where a path leads: our own pages, or a provider and the target to ask of it, byte for byte."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

RESERVED = frozenset({"v1", "api", "health", "live", "ready", "metrics", "admin", "_spendgate"})


@dataclass(frozen=True, slots=True)
class Route:
    """A call's way: `path` is what the dialect sees (no provider prefix, no query), `query` starts with "?"
    or is empty. `chosen` tells that the caller named the provider, so that no model route may change it."""

    provider: str
    path: str
    query: str
    chosen: bool


def route(raw_target: str, *, providers: Mapping[str, object], default: str) -> Route | None:
    """`/v1/...` goes to the default provider, `/<name>/...` to the one it names; anything else: None."""
    path, mark, query = raw_target.partition("?")
    query = mark + query
    first, _, rest = path[1:].partition("/")
    if first == "v1":
        return Route(default, path, query, chosen=False)
    if first in providers:
        return Route(first, f"/{rest}", query, chosen=True)
    return None


def target(base_url: str, path: str, query: str) -> str:
    """The request target at the provider: the base URL's path, then the caller's, with one `/v1` or
    `/v1beta` between them."""
    base = urlsplit(base_url).path.rstrip("/")
    for version in ("/v1", "/v1beta"):
        if base.endswith(version) and (path == version or path.startswith(f"{version}/")):
            path = path[len(version) :]
            break
    return f"{base}{path}{query}" or "/"
