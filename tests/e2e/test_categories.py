"""Categories and tags through the real process: told, reported, enforced, stripped, and never a word of a prompt kept."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.calls import CHAT, RESPONSES, chat_body, headers_for
from tests.support.client import Reply, ask
from tests.support.process import ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

CANARY = "zebrafishcanary"
RULES: dict[str, Any] = {
    "version": 1,
    "categories": [
        {"name": "pathways", "keywords": ["kegg", CANARY]},
        {"name": "dear"},
        {"name": "blocked"},
    ],
    "unknown_category": "reject",
    "keyword_matching": True,
    "names_max": 1,
    "budgets": [
        {"scope": "global", "period": "monthly", "limit_usd": 1000},
        {"id": "dear", "category": "dear", "period": "daily", "limit_usd": 0},
        {"id": "users", "user": "*", "period": "daily", "limit_usd": 0.01, "hold": "strict"},
    ],
    "rules": [
        {
            "rule_id": "no-blocked",
            "threshold_type": "operation_cost",
            "threshold_value": 0.000000001,
            "applies_to_categories": ["block*"],
        }
    ],
}


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    with Spendgate(tmp_path_factory.mktemp("ruled"), config_for(provider.url), RULES) as started:
        yield started


@pytest.fixture(scope="module")
def its_key(ruled: Spendgate) -> str:
    return ruled.key("research")


async def send(
    spendgate: Spendgate,
    key: str,
    tag: str,
    body: bytes,
    *headers: tuple[str, str],
    path: str = CHAT,
) -> Reply:
    return await ask(spendgate.url, "POST", path, [*headers_for(key, Script(tag=tag)), *headers], body)


def category(name: str) -> tuple[str, str]:
    return "X-Spendgate-Category", name


def said(text: str, **more: Any) -> bytes:
    message = {"role": "user", "content": text}
    return json.dumps({"model": "gpt-4o-mini", "messages": [message], "max_tokens": 5, **more}).encode()


async def test_a_header_names_category_and_tags_and_none_of_it_is_forwarded(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    own = [category("made-up"), ("x-spendgate-tags", "project=atlas, run=17"), ("X_Spendgate_Category", "y")]
    await send(spendgate, key, tag, chat_body(), *own)
    echoed = await ask(spendgate.url, "POST", "/v1/echo", [*headers_for(key, Script()), *own], b"{}")

    row = spendgate.call(tag)
    assert (row["category"], row["tags"]) == ("made-up", {"project": "atlas", "run": "17"})
    assert [name for name, _ in echoed.json()["headers"] if "spendgate" in name.lower()] == []


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_metadata_names_the_category_and_reaches_the_provider(
    spendgate: Spendgate, key: str, tag: str, path: str
) -> None:
    metadata: dict[str, Any] = {"metadata": {"category": "from-the-body", "other": "x"}}
    body = {"model": "gpt-4o-mini", "input": "hi", "max_output_tokens": 5, **metadata}
    sent = chat_body(**metadata) if path == CHAT else json.dumps(body).encode()

    reply = await send(spendgate, key, tag, sent, path=path)

    assert reply.status == 200
    assert spendgate.call(tag)["category"] == "from-the-body"


async def test_keywords_name_it_and_no_word_of_the_prompt_is_kept(
    ruled: Spendgate, its_key: str, tag: str
) -> None:
    reply = await send(ruled, its_key, tag, said(f"Is {CANARY.upper()} in it?"))

    assert reply.status == 200
    row = ruled.call(tag)
    assert row["category"] == "pathways"
    kept = [json.dumps(row.fields), ruled.log.read_text(errors="replace")]
    kept += [
        file.read_bytes().decode("latin-1") for file in (ruled.folder / "data").rglob("*") if file.is_file()
    ]
    assert [text for text in kept if CANARY in text.lower()] == []


async def test_a_category_that_is_not_listed_is_refused_and_costs_nothing(
    ruled: Spendgate, its_key: str, tag: str, provider: ScriptedProvider
) -> None:
    by_header = await send(ruled, its_key, tag, chat_body(), category("pathway"))
    by_body = await send(ruled, its_key, f"{tag}-2", chat_body(metadata={"category": "pathway"}))

    for reply in (by_header, by_body):
        error = reply.json()["error"]
        assert (reply.status, error["code"]) == (400, "unknown_category")
        assert 'did you mean "pathways"' in error["message"]
    assert ruled.call(tag)["error_type"] == "unknown_category"
    assert provider.bill(tag) == []


async def test_bad_tags_are_refused(spendgate: Spendgate, key: str, tag: str) -> None:
    reply = await send(spendgate, key, tag, chat_body(), ("X-Spendgate-Tags", "no pair"))

    assert (reply.status, reply.json()["error"]["code"]) == (400, "invalid_tags")


async def test_budgets_and_rules_look_at_the_category(ruled: Spendgate, its_key: str, tag: str) -> None:
    dear = await send(ruled, its_key, tag, chat_body(), category("dear"))
    blocked = await send(ruled, its_key, f"{tag}-2", chat_body(), category("blocked"))
    plain = await send(ruled, its_key, f"{tag}-3", chat_body(), category("pathways"))

    assert (dear.status, dear.json()["error"]["rule_id"]) == (402, "dear")
    assert 'category "dear"' in dear.json()["error"]["message"]
    assert (blocked.status, blocked.json()["error"]["rule_id"]) == (402, "no-blocked")
    assert plain.status == 200


async def test_users_have_budgets_of_their_own_and_too_many_names_share_one(
    ruled: Spendgate, its_key: str, tag: str
) -> None:
    """The budget affords one such call: its ceiling is $0.006."""
    dear: dict[str, Any] = {"max_tokens": 10_000, "model": "gpt-4o-mini"}
    first = await send(ruled, its_key, tag, chat_body(**dear, user="anna"))
    beyond = await send(ruled, its_key, f"{tag}-2", chat_body(**dear, user="bert"))
    further = await send(ruled, its_key, f"{tag}-3", chat_body(**dear, user="cleo"))
    nobody = await send(ruled, its_key, f"{tag}-4", chat_body())

    assert (first.status, beyond.status, further.status, nobody.status) == (200, 200, 402, 200)
    assert 'user "other"' in further.json()["error"]["message"]
    row = ruled.call(f"{tag}-2")
    assert (row["user"], row.flags) == ("bert", ["user_as_other"])
    assert ruled.call(tag).flags == []
    assert ruled.call(f"{tag}-4").flags == []


async def test_a_report_tells_spending_by_category(spendgate: Spendgate, key: str, tag: str) -> None:
    name = f"report-{tag}"
    for n in range(2):
        await send(spendgate, key, f"{tag}-{n}", chat_body(), category(name))
    cost = sum(spendgate.call(f"{tag}-{n}").nanos for n in range(2))

    lines = json.loads(spendgate.run("report", "--by", "category", "--format", "json"))

    (line,) = [line for line in lines if line["category"] == name]
    assert (line["calls"], round(float(line["cost_usd"]) * 10**9)) == (2, cost)
