"""The OpenAI dialect: which of its paths are metered, free or dear; how it is signed; how it tells errors."""

import re
from collections.abc import Mapping

import orjson

from proxy.dialects import Surface, openai_audio, openai_images
from proxy.dialects.openai_batches import Batches
from proxy.dialects.openai_chat import ChatCompletions
from proxy.dialects.openai_completions import Completions
from proxy.dialects.openai_embeddings import Embeddings
from proxy.dialects.openai_moderations import Moderations
from proxy.dialects.openai_responses import Responses
from rules.call import Operation

_METERED = {
    "chat/completions": Surface("metered", Operation.LLM, ChatCompletions()),
    "completions": Surface("metered", Operation.LLM, Completions()),
    "embeddings": Surface("metered", Operation.EMBEDDING, Embeddings()),
    "responses": Surface("metered", Operation.LLM, Responses()),
    "images/generations": Surface("metered", Operation.IMAGE, openai_images.GENERATIONS),
    "images/edits": Surface("metered", Operation.IMAGE, openai_images.EDITS),
    "images/variations": Surface("metered", Operation.IMAGE, openai_images.VARIATIONS),
    "audio/speech": Surface("metered", Operation.AUDIO, openai_audio.SPEECH),
    "audio/transcriptions": Surface("metered", Operation.AUDIO, openai_audio.TRANSCRIPTIONS),
    "audio/translations": Surface("metered", Operation.AUDIO, openai_audio.TRANSLATIONS),
    "batches": Surface("metered", Operation.LLM, Batches()),
}
_MODERATIONS = Surface("free", Operation.OTHER, Moderations())
# Ids of plain letters only: an escaped "?" or space must not make a metered path look like one of these.
_FREE_POST = re.compile(
    r"responses/input_tokens|(responses|batches)/[\w-]+/cancel|chat/completions/[\w-]+|conversations(/[\w-]+(/items)?)?|files"
    r"|uploads(/[\w-]+/(parts|complete|cancel))?",
    re.ASCII,
)
_IMAGES = re.compile(r"^images/")
_AUDIO = re.compile(r"^audio/")
_DEAR_POST = re.compile(
    r"^(images/|audio/|batches|fine_tuning/|videos|realtime/|threads|assistants|vector_stores|containers|evals)"
)
_READS = ("GET", "HEAD", "OPTIONS")


class OpenAi:
    """Also of Azure's and every other provider that speaks the same."""

    name = "openai"
    request_id_names: tuple[str, ...] = ()

    def surface(self, method: str, path: str) -> Surface:
        """By the path after the provider's prefix, with or without its `/v1`. Reading back what is stored is free. Some
        providers take paths in any case: another case must not hide a metered one."""
        short = path.lower().removeprefix("/v1").strip("/")
        if method == "POST" and short in _METERED:
            return _METERED[short]
        if method in _READS or method == "DELETE":
            return Surface("free") if _is_known(short) else Surface("unknown")
        if method == "POST" and short == "moderations":
            return _MODERATIONS
        if _FREE_POST.fullmatch(short):
            return Surface("free")
        if _DEAR_POST.match(short):
            return Surface("billable_unknown", _operation(short))
        return Surface("unknown")

    def credential(self, secret: str) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {secret}"),)

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
        return orjson.dumps(
            {"error": {"message": message, "type": kind, "code": code, "param": param, **extra}}
        )


def _is_known(short: str) -> bool:
    head = short.partition("/")[0]
    return head in {
        "",
        "models",
        "files",
        "batches",
        "responses",
        "fine_tuning",
        "uploads",
        "moderations",
        "chat",
        "conversations",
    }


def _operation(short: str) -> Operation:
    if _IMAGES.match(short):
        return Operation.IMAGE
    return Operation.AUDIO if _AUDIO.match(short) else Operation.OTHER


DIALECT = OpenAi()
