"""The Gemini dialect: the model and the verb stand in the path; how it is signed; how it tells errors."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import parse_qsl

import orjson

from proxy.dialects import Api, BadBody, Surface
from proxy.dialects.gemini_content import GenerateContent, model_named
from proxy.dialects.gemini_embeddings import EmbedContent
from rules.call import Operation

_VERSION = re.compile(r"^(?:upload/)?(?:v\d[a-z0-9]*/)?", re.IGNORECASE)
_VERB = re.compile(r"^(?P<resource>.+):(?P<verb>[^/:]*)$", re.DOTALL)
_FREE_VERBS = frozenset({"counttokens", "countmessagetokens", "counttexttokens", "computetokens", "cancel"})
_FREE_POST = frozenset({"files"})
_DEAR_POST = frozenset(
    {"cachedcontents", "tunedmodels", "interactions", "openai", "auth_tokens", "batches", "agents"}
)
_KNOWN = frozenset(
    {
        "",
        "models",
        "files",
        "cachedcontents",
        "tunedmodels",
        "operations",
        "batches",
        "filesearchstores",
        "corpora",
    }
)
_READS = ("GET", "HEAD", "OPTIONS")

_QUERY_CREDENTIALS = frozenset({"key", "api_key", "access_token", "oauth_token", "bearer_token"})
_FIELD_MASKS = ("X-Goog-FieldMask", "X-Goog-Field-Mask")
_FIELDS_MAX = 100


class Gemini:
    """The Gemini API of Google AI: https://generativelanguage.googleapis.com."""

    name = "gemini"
    request_id_names: tuple[str, ...] = ()

    def surface(self, method: str, path: str) -> Surface:
        """By the path after the provider's prefix, with or without its version. Verbs are known in any case: another
        case must not hide a metered one."""
        short = _VERSION.sub("", path.strip("/"), count=1)
        head = short.partition("/")[0].lower()
        named = _VERB.match(short)
        if method == "POST":
            return _posted(head, None if named is None else (named["resource"], named["verb"].lower()))
        if method in _READS:
            free = head in _KNOWN and (named is None or named["verb"].lower() == "download")
            return Surface("free") if free else Surface("unknown")
        if method == "DELETE":
            return Surface("free") if head in _KNOWN and named is None else Surface("unknown")
        # A longer life of a cache is billed by the hour.
        return Surface("billable_unknown") if head == "cachedcontents" else Surface("unknown")

    def check(self, path: str, query: str, headers: Mapping[str, str]) -> None:
        """Raises BadBody for what Google reads in the query and in headers and that must not reach it: credentials, another
        request than the one we saw, and answers without their usage."""
        masks = [name for name in _FIELD_MASKS if name in headers]
        if not query and not masks:
            return
        metered = self.surface("POST", path).kind == "metered"
        if masks and metered:
            raise _partial(masks[0])
        try:
            pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True, max_num_fields=_FIELDS_MAX)
        except ValueError as error:
            raise BadBody(f"the query holds more than {_FIELDS_MAX} parameters", code="bad_query") from error
        for name, value in pairs:
            _check_parameter(name.strip().lower(), value.strip().lower(), metered=metered)

    def credential(self, secret: str) -> tuple[tuple[str, str], ...]:
        return (("x-goog-api-key", secret),)

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
        facts = {name: value for name, value in extra.items() if value is not None}
        details: list[dict[str, object]] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": code.upper(),
                "domain": "spendgate",
                "metadata": {"type": kind, "code": code, **facts},
            }
        ]
        if param is not None:
            violation = {"field": param, "description": message}
            details.append(
                {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
            )
        return orjson.dumps(
            {
                "error": {
                    "code": status,
                    "message": message,
                    "status": _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL"),
                    "details": details,
                }
            }
        )


def _posted(head: str, named: tuple[str, str] | None) -> Surface:
    if named is not None:
        resource, verb = named
        api = _METERED.get(verb)
        if api is not None:
            operation, make = api
            return Surface("metered", operation, make(model_named(resource)))
        if verb in _FREE_VERBS:
            return Surface("free")
        return Surface("billable_unknown", Operation.IMAGE if verb == "predict" else Operation.OTHER)
    if head in _FREE_POST:
        return Surface("free")
    return Surface("billable_unknown") if head in _DEAR_POST else Surface("unknown")


_METERED: dict[str, tuple[Operation, Callable[[str], Api]]] = {
    "generatecontent": (Operation.LLM, GenerateContent),
    "streamgeneratecontent": (Operation.LLM, partial(GenerateContent, stream=True)),
    "embedcontent": (Operation.EMBEDDING, EmbedContent),
    "batchembedcontents": (Operation.EMBEDDING, EmbedContent),
}


def _check_parameter(name: str, value: str, *, metered: bool) -> None:
    if name.removeprefix("$") in _QUERY_CREDENTIALS:
        raise BadBody(
            f'a key in the query ("{name}") ends up in logs and is not taken: send it in the header x-goog-api-key',
            param=name,
            code="key_in_query",
        )
    if name == "$.xgafv":
        return
    if name.startswith("$") and name not in ("$alt", "$fields", "$callback", "$prettyprint"):
        raise BadBody(
            f'the query parameter "{name[:60]}" is not taken: it changes what is asked', param=name[:60]
        )
    plain = name.removeprefix("$")
    if not metered:
        return
    if plain in ("fields", "callback"):
        raise _partial(name)
    if plain == "alt" and value.partition(";")[0] not in ("", "json", "sse"):
        raise BadBody(
            f'"{name}" must be json or sse: no other form can be metered',
            param=name,
            code="cannot_be_metered",
        )


def _partial(name: str) -> BadBody:
    return BadBody(
        f'"{name}" is not taken: answers must come whole, with their usage',
        param=name,
        code="cannot_be_metered",
    )


# -- errors -----------------------------------------------------------------------------------------------------------

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


DIALECT = Gemini()
