"""Where a path leads, and what is asked of the provider there."""

import pytest

from proxy.routing import RESERVED, Route, route, target

PROVIDERS = {"openai": None, "anthropic": None}


def test_v1_goes_to_the_default_provider() -> None:
    assert Route("openai", "/v1/chat/completions", "?a=b", chosen=False) == route(
        "/v1/chat/completions?a=b", providers=PROVIDERS, default="openai"
    )


def test_a_named_provider_loses_its_prefix_and_nothing_else() -> None:
    assert Route("anthropic", "/v1/messages", "?beta=true", chosen=True) == route(
        "/anthropic/v1/messages?beta=true", providers=PROVIDERS, default="openai"
    )


@pytest.mark.parametrize("path", ["/", "/mistral/v1/x", "/v12/chat", "/api/v1/keys", "/_spendgate/v1/usage"])
def test_other_paths_lead_nowhere(path: str) -> None:
    assert route(path, providers=PROVIDERS, default="openai") is None


def test_no_provider_may_take_a_reserved_name() -> None:
    assert {"v1", "api", "health", "live", "ready", "metrics", "admin", "_spendgate"} == RESERVED


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("https://api.openai.com/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("https://api.openai.com/v1", "/chat/completions", "/v1/chat/completions"),
        ("https://api.openai.com/v1/", "/v1/models", "/v1/models"),
        ("https://api.anthropic.com", "/v1/messages", "/v1/messages"),
        ("https://host/openai/v1", "/v1", "/openai/v1"),
        ("https://host/base", "/v1x/y", "/base/v1x/y"),
        ("https://host", "", "/"),
    ],
)
def test_base_url_and_path_meet_with_one_v1(base: str, path: str, expected: str) -> None:
    assert expected == target(base, path, "")


def test_a_query_and_escapes_reach_the_provider_as_they_came() -> None:
    assert target("https://h/v1", "/v1/models/a%2Fb%20c", "?x=%3A&y") == "/v1/models/a%2Fb%20c?x=%3A&y"
