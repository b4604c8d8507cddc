"""Calls as tests make them: bodies whose token counts are known, sent with their script and their tag."""

import json
from typing import Any

from tests.support.client import Reply, ask, call_headers
from tests.support.script import Script
from tests.support.shapes import words

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"

FRAMING_TOKENS = 7  # 3 a message, 1 for "user", 3 that prime the answer: OpenAI's published formula


def chat_body(
    prompt_tokens: int = 10, *, model: str = "gpt-4o-mini", max_tokens: int = 10, **more: Any
) -> bytes:
    """A chat of one message that is `prompt_tokens` long, framing included."""
    message = {"role": "user", "content": words(prompt_tokens - FRAMING_TOKENS)}
    return json.dumps({"model": model, "messages": [message], "max_tokens": max_tokens, **more}).encode()


def headers_for(key: str, script: Script) -> list[tuple[str, str]]:
    """The script for the provider; its tag also as the trace id, by which the ledger is searched."""
    return [*call_headers(key, script.header()), ("X-Trace-ID", script.tag)]


async def post(url: str, key: str, script: Script, body: bytes, path: str = CHAT) -> Reply:
    """One call on a connection of its own."""
    return await ask(url, "POST", path, headers_for(key, script), body)
