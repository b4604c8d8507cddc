"""Batches: charged as estimated when they are handed in, at the provider's own figures when they have ended, once."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.support.batch_shapes import How
from tests.support.calls import chat_body, post
from tests.support.client import ask
from tests.support.gathering import dollars
from tests.support.process import (
    NANOS_PER_USD,
    PROVIDER_KEY,
    LedgerCall,
    ScriptedProvider,
    Spendgate,
    config_for,
    wait_for,
)
from tests.support.script import Script
from tests.support.shapes import words

MODEL, CLAUDE = "gpt-4o-mini", "claude-haiku-4-5"
CEILING = 3 * (10 * 75 + 20 * 300)  # of `lines()`: half of $0.15 a million tokens in and $0.60 out
RULES = {"version": 1, "teams": {"narrow": {"models": ["gpt-4o-mini", "claude-*"]}}}


def lines(count: int = 3, *, model: str = MODEL, url: str = "/v1/chat/completions", **more: Any) -> bytes:
    """Requests of ten tokens in and twenty out."""
    body = json.loads(chat_body(10, model=model, max_tokens=20, **more))
    made = [{"custom_id": f"r{n}", "method": "POST", "url": url, "body": body} for n in range(count)]
    return b"".join(json.dumps(each).encode() + b"\n" for each in made)


def messages(count: int = 3, model: str = CLAUDE) -> list[Any]:
    params = {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": words(5)}]}
    return [{"custom_id": f"r{n}", "params": params} for n in range(count)]


def headers(tag: str, how: How | None = None) -> dict[str, str]:
    return {**Script(tag=tag).header(), **(how or How()).header(), "X-Trace-ID": tag}


def with_claude(provider: ScriptedProvider) -> dict[str, Any]:
    config = config_for(provider.url)
    named = {"dialect": "anthropic", "base_url": provider.url, "api_key": PROVIDER_KEY}
    config["providers"] = {**config["providers"], "anthropic": named}
    return config


@pytest.fixture(scope="module")
def spendgate(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """One with a provider of each kind, and a team that may not use every model."""
    with Spendgate(tmp_path_factory.mktemp("batches"), with_claude(provider), RULES) as started:
        yield started


@pytest.fixture(scope="module")
def key(spendgate: Spendgate) -> str:
    return spendgate.key("free")


@pytest.fixture(scope="module")
def strict_key(spendgate: Spendgate) -> str:
    return spendgate.key("strict", "--budget-usd", "1", "--period", "total", "--hold", "strict")


def client_of(spendgate: Spendgate, key: str) -> OpenAI:
    return OpenAI(base_url=f"{spendgate.url}/v1", api_key=key)


def claude_of(spendgate: Spendgate, key: str) -> Anthropic:
    return Anthropic(base_url=f"{spendgate.url}/anthropic", api_key=key)


@pytest.fixture
def client(spendgate: Spendgate, key: str) -> Iterator[OpenAI]:
    with client_of(spendgate, key) as made:
        yield made


@pytest.fixture
def claude(spendgate: Spendgate, key: str) -> Iterator[Anthropic]:
    with claude_of(spendgate, key) as made:
        yield made


def begin(client: OpenAI, tag: str, how: How | None = None, content: bytes | None = None) -> str:
    """Upload and hand in; gives the batch's id."""
    uploaded = client.files.create(
        file=("batch.jsonl", lines() if content is None else content), purpose="batch"
    )
    made = client.batches.create(
        input_file_id=uploaded.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        extra_headers=headers(tag, how),
    )
    return made.id


def corrected(spendgate: Spendgate, tag: str) -> LedgerCall:
    """Once its end was written down."""

    call_id = spendgate.call(tag)["call_id"]
    wait_for(f"{tag} to be settled", lambda: charges(spendgate, call_id) == 3 or None)
    return spendgate.call(tag)


def charges(spendgate: Spendgate, call_id: str) -> int:
    with sqlite3.connect(f"file:{spendgate.folder}/data/ledger.db?mode=ro", uri=True) as ledger:
        found = ledger.execute("select count(*) from charges where call_id = ?", [call_id]).fetchone()
    return int(found[0])


def nanos(text: Any) -> int:
    return int(Decimal(str(text)) * NANOS_PER_USD)


def test_a_batch_is_charged_as_estimated_and_then_as_billed(
    client: OpenAI, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    batch_id = begin(client, tag, How(polls=1))
    row = spendgate.call(tag)

    assert client.batches.retrieve(batch_id).status == "in_progress"
    ended = client.batches.retrieve(batch_id)
    assert ended.output_file_id is not None
    results = client.files.content(ended.output_file_id).text.splitlines()
    final = corrected(spendgate, tag)

    assert (row.basis, row["provider_id"], row["model"], row["batch_size"]) == (
        "estimated",
        batch_id,
        MODEL,
        3,
    )
    assert row["outcome"] == "answered"
    assert "batch" in row.flags
    assert nanos(row["estimate_ceiling_usd"]) == CEILING
    assert 0 < row.nanos == nanos(row["estimate_expected_usd"]) <= CEILING
    assert len(results) == 3
    assert (final.basis, final.nanos) == ("reported", provider.billed(tag).nanos)
    assert (final["input_tokens"], final["output_tokens"]) == (30, 60)


@pytest.mark.parametrize(
    ("how", "basis", "flags"),
    [
        (How(usage=True), "reported", set()),
        (How(failing=1), "reported", set()),
        (How(failing=3, status="cancelled"), "reported", set()),
        (How(failing=1, status="expired"), "reported", set()),
        (How(served="gpt-4o-2024-05-13"), "reported", set()),
        (How(silent=True), "observed", set()),
        (How(gone=True), "estimated", {"result_gone"}),
        (How(gone=True, usage=True), "reported", set()),
    ],
    ids=lambda each: "" if isinstance(each, set | str) else json.loads(next(iter(each.header().values()))),
)
def test_a_batch_ends_in_many_ways(
    client: OpenAI,
    spendgate: Spendgate,
    provider: ScriptedProvider,
    tag: str,
    how: How,
    basis: str,
    flags: set[str],
) -> None:
    batch_id = begin(client, tag, how)
    before = spendgate.call(tag).nanos

    client.batches.retrieve(batch_id)
    final = corrected(spendgate, tag)

    assert (final.basis, set(final.flags) - {"batch"}) == (basis, flags)
    assert final.nanos == (before if flags else provider.billed(tag).nanos)


def test_asking_often_and_at_once_charges_once(
    client: OpenAI, spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    batch_id = begin(client, tag)

    async def look() -> None:
        page = f"/v1/batches/{batch_id}"
        headers = [("Authorization", f"Bearer {key}"), ("X-Trace-ID", f"look-{tag}")]
        await asyncio.gather(*(ask(spendgate.url, "GET", page, headers) for _ in range(20)))

    asyncio.run(look())
    first = corrected(spendgate, tag)
    asyncio.run(look())

    assert first.nanos == spendgate.call(tag).nanos == provider.billed(tag).nanos
    assert charges(spendgate, first["call_id"]) == 3
    assert {call.nanos for call in spendgate.calls(f"look-{tag}", "--limit", "100")} == {0}


def test_under_a_hard_budget_a_batch_stands_at_its_ceiling_until_its_end(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    """Room for the ceilings of one batch and a half: a second goes only once the first has cost less."""
    key = spendgate.key(
        tag, "--budget-usd", dollars(CEILING * 3 // 2), "--period", "total", "--hold", "strict"
    )
    with client_of(spendgate, key) as client:
        batch_id = begin(client, f"{tag}-1", How(failing=2))
        row = spendgate.call(f"{tag}-1")
        with pytest.raises(openai.APIStatusError) as refused:
            begin(client, f"{tag}-2")
        client.batches.retrieve(batch_id)
        final = corrected(spendgate, f"{tag}-1")
        begin(client, f"{tag}-3")

    assert (row.nanos, row.basis) == (CEILING, "estimated")
    assert row["reason"] == "the work goes on: held at its ceiling until its end is told"
    assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
    assert provider.bill(f"{tag}-2") == []
    assert final.nanos == provider.billed(f"{tag}-1").nanos == CEILING // 3


@pytest.mark.parametrize(
    "content",
    [
        lines() + b'{"custom_id": "x", "url": "/v1/chat/completions", "body": {"model": 1}}\n',
        lines() + b"no json\n",
        lines(url="/v1/videos"),
        lines() + lines(url="/v1/batches"),
        b"",
    ],
    ids=["no model", "no json", "not metered", "a batch in it", "empty"],
)
def test_what_cannot_be_read_is_refused_under_a_hard_budget_and_marked_elsewhere(
    client: OpenAI,
    spendgate: Spendgate,
    provider: ScriptedProvider,
    strict_key: str,
    tag: str,
    content: bytes,
) -> None:
    with client_of(spendgate, strict_key) as strict, pytest.raises(openai.PermissionDeniedError) as refused:
        begin(strict, f"{tag}-strict", content=content)

    begin(client, tag, content=content)
    row = spendgate.call(tag)

    assert refused.value.code == "batch_not_readable"
    assert provider.bill(f"{tag}-strict") == []
    assert "batch_unread" in row.flags
    assert row.nanos > 0


def test_a_file_that_is_not_there_is_no_way_past_a_hard_budget(
    spendgate: Spendgate, provider: ScriptedProvider, strict_key: str, tag: str
) -> None:
    with client_of(spendgate, strict_key) as client:
        for name in ("../models", "", "file-.."):
            with pytest.raises(openai.PermissionDeniedError) as refused:
                client.batches.create(
                    input_file_id=name,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    extra_headers=headers(tag),
                )
            assert refused.value.code == "batch_not_readable"
    assert provider.bill(tag) == []


def test_every_model_of_a_batch_must_be_allowed(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    with client_of(spendgate, spendgate.key("narrow")) as client:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            begin(client, tag, content=lines(9) + lines(1, model="gpt-4.1-mini"))
        begin(client, f"{tag}-allowed")

    assert refused.value.code == "model_not_allowed"
    assert provider.bill(tag)[0].tag == f"{tag}-allowed"


def test_a_batch_of_several_models_is_charged_by_each(
    client: OpenAI, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    batch_id = begin(client, tag, How(usage=True), lines(2) + lines(1, model="gpt-4o"))
    row = spendgate.call(tag)

    client.batches.retrieve(batch_id)

    assert (row["model"], row["batch_size"]) == ("gpt-4o", 3)
    assert corrected(spendgate, tag).nanos == provider.billed(tag).nanos


def test_nobody_asks_and_the_process_is_killed_and_the_bill_is_charged_all_the_same(
    tmp_path: Path, provider: ScriptedProvider, tag: str
) -> None:
    rules = {
        "version": 1,
        "budgets": [
            {"id": "everyone", "scope": "global", "period": "total", "limit_usd": "1", "hold": "expected"}
        ],
    }
    with Spendgate(tmp_path / "own", with_claude(provider), rules) as own:
        key = own.key("free")
        with client_of(own, key) as client, claude_of(own, key) as claude:
            begin(client, f"{tag}-1")
            claude.messages.batches.create(requests=messages(), extra_headers=headers(f"{tag}-2"))
        own.kill()
        own.start()
        counted = [own.call(f"{tag}-{n}") for n in (1, 2)]
        own.stop()
        with sqlite3.connect(own.folder / "data" / "ledger.db") as ledger:
            ledger.execute("update deferred set next_at = 0")
        own.start()
        final = [corrected(own, f"{tag}-{n}") for n in (1, 2)]
        reply = asyncio.run(post(own.url, key, Script(tag=f"{tag}-3"), chat_body()))

    assert [call.basis for call in counted] == ["estimated", "estimated"]
    assert [call.nanos for call in final] == [provider.billed(f"{tag}-{n}").nanos for n in (1, 2)]
    spent = sum(call.nanos for call in final) + provider.billed(f"{tag}-3").nanos
    left = nanos(reply.header("x-spendgate-budget-remaining-usd"))
    assert left == NANOS_PER_USD - spent


# -- Anthropic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "basis"),
    [(How(polls=1), "reported"), (How(failing=2), "reported"), (How(silent=True), "observed")],
    ids=["polls", "failing", "silent"],
)
def test_a_batch_of_messages(
    claude: Anthropic, spendgate: Spendgate, provider: ScriptedProvider, tag: str, how: How, basis: str
) -> None:
    made = claude.messages.batches.create(requests=messages(), extra_headers=headers(tag, how))
    row = spendgate.call(tag)

    while claude.messages.batches.retrieve(made.id).processing_status != "ended":
        pass
    final = corrected(spendgate, tag)

    assert (row.basis, row["model"], row["batch_size"]) == ("estimated", CLAUDE, 3)
    assert "batch" in row.flags
    assert final.basis == basis
    if basis == "reported":
        assert final.nanos == provider.billed(tag).nanos
    else:
        assert final.nanos >= provider.billed(tag).nanos


def test_results_of_messages_that_are_gone_leave_the_estimate(
    claude: Anthropic, spendgate: Spendgate, tag: str
) -> None:
    made = claude.messages.batches.create(requests=messages(), extra_headers=headers(tag, How(gone=True)))
    before = spendgate.call(tag).nanos

    claude.messages.batches.retrieve(made.id)
    final = corrected(spendgate, tag)

    assert (final.nanos, final.basis) == (before, "estimated")
    assert "result_gone" in final.flags


def test_a_batch_of_messages_under_a_hard_budget(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = spendgate.key(tag, "--budget-usd", "0.001", "--period", "total", "--hold", "strict")
    with claude_of(spendgate, key) as client:
        made = client.messages.batches.create(requests=messages(), extra_headers=headers(f"{tag}-1"))
        row = spendgate.call(f"{tag}-1")
        with pytest.raises(anthropic.APIStatusError) as over:
            client.messages.batches.create(requests=messages(99), extra_headers=headers(f"{tag}-2"))
        with pytest.raises(anthropic.PermissionDeniedError) as unread:
            client.messages.batches.create(
                requests=[{"custom_id": "a", "params": {"model": CLAUDE}}],  # type: ignore[typeddict-item]
                extra_headers=headers(f"{tag}-3"),
            )
        client.messages.batches.retrieve(made.id)

    assert row.nanos == nanos(row["estimate_ceiling_usd"]) <= nanos("0.001")
    assert over.value.status_code == 402
    assert unread.value.error_code == "batch_not_readable"
    assert provider.bill(f"{tag}-2") == provider.bill(f"{tag}-3") == []
    assert corrected(spendgate, f"{tag}-1").nanos == provider.billed(f"{tag}-1").nanos < row.nanos


def test_a_body_that_is_no_batch_is_a_bad_request(claude: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="must be a list of requests"):
        claude.messages.batches.create(requests=[])
