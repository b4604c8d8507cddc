"""Pictures, sound and moderations as the scripted provider speaks them, with what they cost on its own price list.

Forms are read by the standard library's mail parser, so that the product's own reader is never its own judge."""

import asyncio
import base64
import email.policy
import hashlib
import json
import secrets
from dataclasses import dataclass
from email.parser import BytesParser
from typing import Any

from aiohttp import web

from tests.support.bill import BillWriter, Work
from tests.support.script import Script
from tests.support.shapes import event, words

PATHS = (
    "/images/generations",
    "/images/edits",
    "/images/variations",
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
    "/moderations",
)
PICTURE_TOKENS = 1_000
SENT_PICTURE_TOKENS = 300
SENT_BYTES_PER_SECOND = 4_000  # of the sound that tests send
SPOKEN_TOKENS_A_WORD = 8
SPOKEN_BYTES_A_WORD = 3_000
HEARD_TOKENS_PER_SECOND = 10

# Nano-dollars: for a token, a character or a second. As published, e.g. tts-1 at $15 a million characters.
TEXT_IN = {
    "gpt-image-1-mini": 2_000,
    "gpt-image-1.5": 5_000,
    "gpt-4o-mini-tts": 600,
    "gpt-4o-mini-transcribe": 1_250,
}
PICTURE_IN = {"gpt-image-1-mini": 2_500, "gpt-image-1.5": 8_000}
OUT = {
    "gpt-image-1-mini": 8_000,
    "gpt-image-1.5": 32_000,
    "gpt-4o-mini-tts": 12_000,
    "gpt-4o-mini-transcribe": 5_000,
}
SOUND_IN = {"gpt-4o-mini-transcribe": 3_000}
CHARACTER = {"tts-1": 15_000}
SECOND = {"whisper-1": 100_000}


@dataclass(frozen=True, slots=True)
class MediaWork(Work):
    """What one call of media came to."""

    cost: int = 0

    def nanos(self, model: str) -> int:
        return self.cost


@dataclass(slots=True)
class Asked:
    """A request, whichever way it was written."""

    path: str
    fields: dict[str, str]
    files: dict[str, bytes]

    @property
    def model(self) -> str:
        return self.fields.get("model", "dall-e-2")

    @property
    def stream(self) -> bool:
        return self.fields.get("stream", "").lower() == "true" or self.fields.get("stream_format") == "sse"

    @property
    def prompt_tokens(self) -> int:
        return sum(len(self.fields.get(name, "").split()) for name in ("prompt", "input", "instructions"))


def serves(path: str) -> bool:
    return path.endswith(PATHS)


def read(request: web.BaseRequest, path: str, body: bytes) -> Asked:
    content_type = request.headers.get("Content-Type", "")
    if not content_type.startswith("multipart/"):
        plain = {name: _plain(value) for name, value in json.loads(body).items()}
        return Asked(path, plain, {})
    parsed = BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + body
    )
    asked = Asked(path, {}, {})
    for part in parsed.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes), "a part of a form is no form"
        if part.get_filename() is None:
            asked.fields[str(name)] = content.decode()
        else:
            asked.files[str(name)] = content
    return asked


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# -- the work ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """What was made, what it cost, and what the answer tells of that."""

    work: MediaWork
    usage: dict[str, Any] | None
    seconds: int = 0


def done(asked: Asked, script: Script) -> Done:
    if "/images/" in asked.path:
        return _drawn(asked, script)
    if asked.path.endswith("/speech"):
        return _spoken(asked, script)
    return _heard(asked, script)


def pictures_of(asked: Asked) -> int:
    return int(asked.fields.get("n", "1"))


def _drawn(asked: Asked, script: Script) -> Done:
    each = PICTURE_TOKENS if script.output_tokens is None else script.output_tokens
    outputs, sent, texts = (
        each * pictures_of(asked),
        SENT_PICTURE_TOKENS * len(asked.files),
        asked.prompt_tokens,
    )
    usage = {
        "input_tokens": texts + sent,
        "input_tokens_details": {"text_tokens": texts, "image_tokens": sent},
        "output_tokens": outputs,
        "total_tokens": texts + sent + outputs,
    }
    cost = texts * TEXT_IN[asked.model] + sent * PICTURE_IN[asked.model] + outputs * OUT[asked.model]
    return Done(MediaWork(texts + sent, 0, outputs, cost=cost), usage)


def _spoken(asked: Asked, script: Script) -> Done:
    spoken = asked.fields["input"]
    if asked.model in CHARACTER:
        return Done(MediaWork(cost=len(spoken) * CHARACTER[asked.model]), None)
    texts = asked.prompt_tokens
    outputs = (
        len(spoken.split()) * SPOKEN_TOKENS_A_WORD if script.output_tokens is None else script.output_tokens
    )
    usage = {"input_tokens": texts, "output_tokens": outputs, "total_tokens": texts + outputs}
    cost = texts * TEXT_IN[asked.model] + outputs * OUT[asked.model]
    return Done(MediaWork(texts, 0, outputs, cost=cost), usage)


def _heard(asked: Asked, script: Script) -> Done:
    seconds = max(1, -(-sum(map(len, asked.files.values())) // SENT_BYTES_PER_SECOND))
    if asked.model in SECOND:
        usage: dict[str, Any] = {"type": "duration", "seconds": seconds - 0.5}
        return Done(MediaWork(cost=seconds * SECOND[asked.model]), usage, seconds)
    sound, texts = seconds * HEARD_TOKENS_PER_SECOND, asked.prompt_tokens
    outputs = 16 if script.output_tokens is None else script.output_tokens
    usage = {
        "type": "tokens",
        "input_tokens": sound + texts,
        "input_token_details": {"audio_tokens": sound, "text_tokens": texts},
        "output_tokens": outputs,
        "total_tokens": sound + texts + outputs,
    }
    cost = sound * SOUND_IN[asked.model] + texts * TEXT_IN[asked.model] + outputs * OUT[asked.model]
    return Done(MediaWork(sound + texts, 0, outputs, cost=cost), usage, seconds)


# -- the answers ------------------------------------------------------------------------------------------------------


async def answer(
    bill: BillWriter, request: web.BaseRequest, path: str, body: bytes, script: Script
) -> web.StreamResponse:
    """Billed, then answered: whole, streamed, or broken off after so many chunks."""
    asked = read(request, path, body)
    if path.endswith("/moderations"):
        flags = [
            {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
        ]
        return web.json_response({"id": "modr-1", "model": "omni-moderation-latest", "results": flags})
    made = done(asked, script)
    bill.write(
        answer_id=f"id-{secrets.token_hex(8)}",
        tag=script.tag,
        path=path,
        model=script.model or asked.model,
        work=made.work,
        free=script.status >= 400,
        final=True,
    )
    await asyncio.sleep(script.delay_ms / 1000)
    if script.status >= 400:
        error = {
            "message": "the script says so",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        return web.json_response({"error": error}, status=script.status)
    told = None if script.usage in ("missing", "null") else made.usage
    kind, pieces = _pieces(asked, made, told, script)
    arrived = {
        "Content-Type": kind,
        "x-request-id": "req-media",
        "x-body-sha256": hashlib.sha256(body).hexdigest(),
    }
    return await _send(request, arrived, pieces, script)


def _pieces(asked: Asked, made: Done, told: dict[str, Any] | None, script: Script) -> tuple[str, list[bytes]]:
    usage = {} if told is None else {"usage": told}
    if "/images/" in asked.path:
        picture = base64.b64encode(b"\x89PNG" + b"\0" * max(100, script.padding_bytes)).decode()
        if asked.stream:
            return "text/event-stream", _picture_events(asked, picture, usage)
        data = [{"b64_json": picture}] * pictures_of(asked)
        return "application/json", [json.dumps({"created": 1, "data": data, **usage}).encode()]
    if asked.path.endswith("/speech"):
        sound = b"\xff\xf3" * (SPOKEN_BYTES_A_WORD // 2)
        pieces = [sound] * len(asked.fields["input"].split())
        if not asked.stream:
            return "audio/mpeg", pieces
        events = [
            event({"type": "speech.audio.delta", "audio": base64.b64encode(each).decode()}) for each in pieces
        ]
        return "text/event-stream", [*events, event({"type": "speech.audio.done", **usage})]
    text = words(max(1, made.work.output_tokens))
    if asked.stream:
        deltas = [event({"type": "transcript.text.delta", "delta": f"{word} "}) for word in text.split()]
        return "text/event-stream", [*deltas, event({"type": "transcript.text.done", "text": text, **usage})]
    shape = asked.fields.get("response_format", "json")
    if shape == "text":
        return "text/plain; charset=utf-8", [text.encode()]
    if shape == "srt":
        end = f"00:{made.seconds // 60:02}:{made.seconds % 60:02},000"
        return "text/plain; charset=utf-8", [f"1\n00:00:00,000 --> {end}\n{text}\n".encode()]
    more = {"duration": made.seconds - 0.5, "language": "english"} if shape == "verbose_json" else {}
    return "application/json", [json.dumps({"text": text, **more, **usage}).encode()]


def _picture_events(asked: Asked, picture: str, usage: dict[str, Any]) -> list[bytes]:
    name = "image_edit" if asked.path.endswith("/edits") else "image_generation"
    common = {
        "b64_json": picture,
        "background": "auto",
        "created_at": 1,
        "output_format": "png",
        "quality": "low",
    }
    partials = [
        event({"type": f"{name}.partial_image", **common, "size": "1024x1024", "partial_image_index": n})
        for n in range(int(asked.fields.get("partial_images", "0")))
    ]
    return [*partials, event({"type": f"{name}.completed", **common, "size": "1024x1024", **usage})]


async def _send(
    request: web.BaseRequest, headers: dict[str, str], pieces: list[bytes], script: Script
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    for number, piece in enumerate(pieces):
        if script.fault == "cut" and number == script.after_chunks:
            await response.write(piece[: len(piece) // 2])
            assert request.transport is not None, "the client is still there"
            request.transport.close()
            raise ConnectionError("the script cuts here")
        await response.write(piece)
        await asyncio.sleep(script.chunk_delay_ms / 1000)
    await response.write_eof()
    return response
