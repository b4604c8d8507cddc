"""The framing gate: what two parsers could read differently, or what could lead elsewhere, is refused before anything else."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import HttpVersion10, HttpVersion11, web

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
METHOD_OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
_NOT_FORWARDED = HOP_BY_HOP | CREDENTIALS | {"host", "content-length", "expect"}
_NOT_RETURNED = HOP_BY_HOP - {"proxy-authorization"}
_MUST_NOT_BE_NOMINATED = CREDENTIALS | {"content-type", "content-length", "host", "x-trace-id"}
OWN_PREFIX = "x-spendgate-"

# Unreserved and sub-delims as they are, other bytes escaped; no escape that a second parser could read as structure.
_SEGMENT = r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%(?!2[eEfF]|5[cC]|00)[0-9A-Fa-f]{2})*"
_PATH = re.compile(rf"(?:/{_SEGMENT})+")
_MODEL_ID = re.compile(rf"/(?:[a-z0-9-]+/)?(?:v1/)?models/{_SEGMENT}%2[Ff]{_SEGMENT}")
# Dot segments and empty ones, also where only an unescaped slash would make them.
_AMBIGUOUS = re.compile(r"(?:/|%2[Ff])(?:\.{0,2}(?:/|%2[Ff])|\.{1,2}$)")
_QUERY = re.compile(r"[\x21-\x22\x24-\x7e]*")


@dataclass(frozen=True, slots=True)
class GateProblem:
    status: int
    code: str
    message: str
    close: bool = True


def check_request(request: web.BaseRequest, *, body_bytes_max: int) -> GateProblem | None:
    """The first thing wrong with a request's framing, or None."""
    if request.method not in METHODS:
        return GateProblem(405, "bad_method", f"the method must be one of {', '.join(sorted(METHODS))}")
    if request.version not in (HttpVersion10, HttpVersion11):
        return GateProblem(505, "bad_version", "the HTTP version must be 1.1 or 1.0")
    return _check_target(request.raw_path) or _check_headers(request, body_bytes_max)


def _check_target(raw: str) -> GateProblem | None:
    path, _, query = raw.partition("?")
    well_formed = _PATH.fullmatch(path) or _MODEL_ID.fullmatch(path)
    if not well_formed or _AMBIGUOUS.search(path) or not _QUERY.fullmatch(query):
        return GateProblem(
            400,
            "bad_path",
            "the path holds something that could be read in two ways: send it plain, without dot segments",
        )
    return None


def _check_headers(request: web.BaseRequest, body_bytes_max: int) -> GateProblem | None:
    headers = request.headers
    coding = headers.getall("Transfer-Encoding", None)
    if coding is not None:
        if request.version == HttpVersion10:
            return GateProblem(400, "bad_framing", "Transfer-Encoding needs HTTP/1.1")
        if [value.strip().lower() for value in coding] != ["chunked"]:
            return GateProblem(501, "bad_framing", "the only transfer coding is chunked")
    length = headers.get("Content-Length")
    if length is not None and length.isdigit() and int(length) > body_bytes_max:
        return GateProblem(
            413, "body_too_large", f"the body is larger than {body_bytes_max} bytes: raise limits.body_mb"
        )
    if "websocket" in headers.get("Upgrade", "").lower():
        return GateProblem(426, "websocket_not_metered", "WebSockets are not metered: use plain HTTP (POST)")
    if headers.get("Expect", "100-continue").lower() != "100-continue":
        return GateProblem(417, "bad_framing", "the only expectation is 100-continue")
    if any(name in headers for name in METHOD_OVERRIDES):
        return GateProblem(400, "method_override", "a header names another method: send the method itself")
    taken = _nominated(headers.getall("Connection", ())) & _MUST_NOT_BE_NOMINATED
    if taken or any(name.startswith(OWN_PREFIX) for name in _nominated(headers.getall("Connection", ()))):
        return GateProblem(400, "bad_framing", "Connection names a header that belongs to the request itself")
    return None


def forwardable(request: web.BaseRequest) -> list[tuple[str, str]]:
    """The request's headers for the provider, in order and in their own case: without those of this hop, the
    caller's credential, and our own. Names with underscores go too: some servers read them as dashes."""
    dropped = _NOT_FORWARDED | _nominated(request.headers.getall("Connection", ()))
    kept = []
    for raw_name, raw_value in request.raw_headers:
        name = raw_name.decode("ascii", "surrogateescape")
        lowered = name.lower()
        if lowered not in dropped and not lowered.startswith(OWN_PREFIX) and "_" not in name:
            kept.append((name, raw_value.decode("utf-8", "surrogateescape")))
    return kept


def returnable(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A provider's headers for the client: all but those of the hop. Order, case and doubles stay."""
    dropped = _NOT_RETURNED | _nominated(value for name, value in headers if name.lower() == "connection")
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def _nominated(values: Iterable[str]) -> set[str]:
    return {name.strip().lower() for value in values for name in value.split(",") if name.strip()} - {
        "close",
        "keep-alive",
    }
