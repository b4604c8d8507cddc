"""The Anthropic dialect: which of its paths are metered, free or dear; how it is signed; how it tells errors."""

import re
from collections.abc import Mapping

import orjson

from proxy.dialects import Surface
from proxy.dialects.anthropic_batches import MessageBatches
from proxy.dialects.anthropic_messages import Messages
from rules.call import Operation

_METERED = {
    "messages": Surface("metered", Operation.LLM, Messages()),
    "messages/batches": Surface("metered", Operation.LLM, MessageBatches()),
}
_FREE_POST = re.compile(r"^(messages/count_tokens|messages/batches/[^/]+/cancel|files)$")
# `chat/completions` is Anthropic's own translation of OpenAI's API: a provider of dialect openai meters it.
_DEAR_POST = re.compile(r"^(complete|chat/completions|sessions(/.*)?)$")
_KNOWN = frozenset({"", "models", "files", "messages"})
_READS = ("GET", "HEAD", "OPTIONS", "DELETE")

# What the SDKs show as the error's type; they choose the class by the status.
_TYPE_BY_CODE = {
    "invalid_api_key": "authentication_error",
    "unknown_path": "not_found_error",
    "body_too_large": "request_too_large",
    "upstream_timeout": "timeout_error",
}
_TYPE_BY_KIND = {"insufficient_quota": "billing_error"}


class Anthropic:
    """Also of every other provider that speaks the same."""

    name = "anthropic"
    request_id_names: tuple[str, ...] = ("request-id",)

    def surface(self, method: str, path: str) -> Surface:
        """By the path after the provider's prefix, with or without its `/v1`. Another case must not hide a metered path.
        Reading back what is stored is free."""
        short = path.lower().removeprefix("/v1").strip("/")
        if method == "POST" and short in _METERED:
            return _METERED[short]
        if method in _READS:
            return Surface("free") if short.partition("/")[0] in _KNOWN else Surface("unknown")
        if method == "POST" and _FREE_POST.match(short):
            return Surface("free")
        if method == "POST" and _DEAR_POST.match(short):
            return Surface("billable_unknown")
        return Surface("unknown")

    def credential(self, secret: str) -> tuple[tuple[str, str], ...]:
        """The client's own `anthropic-version` and `anthropic-beta` stay as they came."""
        return (("x-api-key", secret),)

    def refusal(
        self,
        *,
        status: int,
        message: str,
        kind: str,
        code: str,
        param: str | None,
        extra: Mapping[str, str | None],
    ) -> bytes:
        """`details.error_code` is what the SDKs show as the exception's `error_code`."""
        more = dict(extra)
        request_id = more.pop("request_id", None)
        told = {
            "type": _TYPE_BY_CODE.get(code) or _TYPE_BY_KIND.get(kind, kind),
            "message": message,
            "code": code,
            "param": param,
            **more,
            "details": {"error_code": code},
        }
        return orjson.dumps({"type": "error", "error": told, "request_id": request_id})


DIALECT = Anthropic()
