"""Pictures, sound and moderations through the real process, with the real SDK, against the provider's own bill."""

import asyncio
import hashlib
import io
import json
import wave
from collections.abc import Callable, Iterator

import openai
import pytest
from openai import OpenAI

from tests.support.client import Connection, ask
from tests.support.process import ScriptedProvider, Spendgate, wait_for
from tests.support.script import Script

SOUND = ("sound.mp3", b"\xff\xfb\x90\x00" * 5_000, "audio/mpeg")  # 20,000 bytes: five seconds to the provider
PICTURE = ("picture.png", b"\x89PNG" + b"\0" * 500, "image/png")


def script_headers(tag: str, script: Script | None = None) -> dict[str, str]:
    return {**(script or Script(tag=tag)).header(), "X-Trace-ID": tag}


@pytest.fixture
def client(spendgate: Spendgate, key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{spendgate.url}/v1", api_key=key, max_retries=0) as made:
        yield made


@pytest.fixture
def same(spendgate: Spendgate, provider: ScriptedProvider, tag: str) -> Iterator[None]:
    """The ledger has the provider's own figure, told by the provider, under the call's ceiling."""
    yield
    row = spendgate.call(tag)
    assert row.nanos == provider.billed(tag).nanos > 0
    assert (row.basis, row["outcome"], row.flags) == ("reported", "answered", [])


# -- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("same")
@pytest.mark.parametrize("model", ["gpt-image-1-mini", "gpt-image-1.5"])
def test_pictures_by_the_token(client: OpenAI, tag: str, model: str) -> None:
    made = client.images.generate(
        model=model,
        prompt="a red fox",
        n=2,
        quality="low",
        extra_headers=script_headers(tag, Script(tag, output_tokens=200)),
    )

    assert made.data is not None
    assert len(made.data) == 2


@pytest.mark.usefixtures("same")
def test_a_streamed_picture_of_megabytes(client: OpenAI, tag: str) -> None:
    script = Script(tag, padding_bytes=2_000_000)
    stream = client.images.generate(
        model="gpt-image-1-mini", prompt="a red fox", stream=True, partial_images=2,
        extra_headers=script_headers(tag, script),
    )  # fmt: skip

    events = list(stream)
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + [
        "image_generation.completed"
    ]
    assert len(events[-1].b64_json) > 2_000_000


@pytest.mark.usefixtures("same")
def test_an_edit_of_two_pictures_goes_as_a_form(client: OpenAI, tag: str) -> None:
    made = client.images.edit(
        model="gpt-image-1-mini",
        prompt="a red fox",
        image=[PICTURE, PICTURE],
        n=1,
        extra_headers=script_headers(tag),
    )

    assert made.usage is not None


def test_pictures_without_usage_are_charged_as_the_dearest_of_their_size(
    client: OpenAI, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    client.images.generate(
        model="gpt-image-1-mini",
        prompt="a red fox",
        extra_headers=script_headers(tag, Script(tag, usage="missing")),
    )

    row = spendgate.call(tag)
    assert (row.basis, row.nanos) == ("observed", 3 * 2_000 + 6_240 * 8_000)
    assert row.nanos > provider.billed(tag).nanos


# -- speech -----------------------------------------------------------------------------------------------------------


def test_speech_by_the_character_is_exact_though_no_answer_tells_of_it(
    client: OpenAI, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    sound = client.audio.speech.create(
        model="tts-1", voice="alloy", input="word word π", extra_headers=script_headers(tag)
    )

    assert len(sound.content) == 3 * 3_000
    row = spendgate.call(tag)
    assert row.nanos == provider.billed(tag).nanos == 11 * 15_000
    assert (row.basis, row["outcome"]) == ("observed", "answered")


async def test_sound_is_passed_on_as_it_comes(spendgate: Spendgate, key: str, tag: str) -> None:
    """The client hears the first word while the provider still says the others."""
    headers = [("Authorization", f"Bearer {key}"), ("Content-Type", "application/json")]
    script = Script(tag, chunk_delay_ms=60_000)
    body = json.dumps({"model": "tts-1", "voice": "alloy", "input": "word word"}).encode()

    async with Connection(spendgate.url) as connection, asyncio.timeout(10):
        await connection.start(
            "POST", "/v1/audio/speech", [*headers, *script_headers(tag, script).items()], body
        )
        first = await anext(connection.pieces())

    assert first


@pytest.mark.usefixtures("same")
def test_speech_as_events_tells_its_tokens(client: OpenAI, tag: str) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="word word word", stream_format="sse",
        extra_headers=script_headers(tag),
    ) as answer:  # fmt: skip
        assert b"speech.audio.done" in answer.read()


def test_speech_by_the_token_without_usage_is_never_free(
    client: OpenAI, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    client.audio.speech.create(
        model="gpt-4o-mini-tts", voice="alloy", input="word word word", extra_headers=script_headers(tag)
    )

    row = spendgate.call(tag)
    assert row.basis == "observed"
    assert row.nanos >= provider.billed(tag).nanos > 0


# -- transcriptions ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("same")
@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-mini-transcribe"])
def test_a_transcription_by_the_second_or_by_the_token(client: OpenAI, tag: str, model: str) -> None:
    made = client.audio.transcriptions.create(
        model=model, file=SOUND, prompt="word", extra_headers=script_headers(tag)
    )

    assert made.text


@pytest.mark.usefixtures("same")
def test_a_streamed_transcription(client: OpenAI, tag: str) -> None:
    stream = client.audio.transcriptions.create(
        model="gpt-4o-mini-transcribe", file=SOUND, stream=True, extra_headers=script_headers(tag)
    )

    assert [event.type for event in stream][-1] == "transcript.text.done"


@pytest.mark.usefixtures("same")
def test_a_translation(client: OpenAI, tag: str) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        made = client.audio.translations.create(
            model="whisper-1", file=SOUND, extra_headers=script_headers(tag)
        )

    assert made.text


@pytest.mark.parametrize("shape", ["text", "srt", "verbose_json"])
def test_a_transcription_that_tells_no_usage_is_charged_by_its_length(
    client: OpenAI, spendgate: Spendgate, provider: ScriptedProvider, tag: str, shape: str
) -> None:
    client.audio.transcriptions.create(
        model="whisper-1", file=SOUND, response_format=shape,  # type: ignore[call-overload]
        extra_headers=script_headers(tag, Script(tag, usage="missing")),
    )  # fmt: skip

    row = spendgate.call(tag)
    assert row.basis == "observed"
    assert row.nanos >= provider.billed(tag).nanos > 0


def test_a_long_wav_is_held_by_its_very_length(client: OpenAI, spendgate: Spendgate, tag: str) -> None:
    """A minute of it costs $0.006, and no more than a second beyond that is held."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * 16_000 * 60)

    client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", made.getvalue(), "audio/wav"), extra_headers=script_headers(tag)
    )

    ceiling = float(spendgate.call(tag)["estimate_ceiling_usd"])
    assert 0.006 <= ceiling <= 0.0063


async def test_a_form_arrives_byte_for_byte(spendgate: Spendgate, key: str, tag: str) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\xff\r\n--\r\n--b--'
    )
    headers = [("Authorization", f"Bearer {key}"), ("Content-Type", "multipart/form-data; boundary=b")]

    reply = await ask(
        spendgate.url, "POST", "/v1/audio/transcriptions", [*headers, *script_headers(tag).items()], body
    )

    assert (reply.status, reply.header("x-body-sha256")) == (200, hashlib.sha256(body).hexdigest())


# -- what is refused, and what is free --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_types", "body"),
    [
        (["multipart/form-data; boundary=b"], b"--b\r\n"),
        (["multipart/form-data; boundary=b", "multipart/form-data; boundary=c"], b"--b--"),
        (["multipart/form-data; boundary=b; boundary=c"], b"--b--"),
        (["application/x-www-form-urlencoded"], b"model=whisper-1"),
        ([], b""),
    ],
)
async def test_a_form_that_two_readers_could_read_differently_never_leaves(
    spendgate: Spendgate,
    provider: ScriptedProvider,
    key: str,
    tag: str,
    content_types: list[str],
    body: bytes,
) -> None:
    headers = [("Authorization", f"Bearer {key}"), *(("Content-Type", each) for each in content_types)]

    reply = await ask(
        spendgate.url, "POST", "/v1/audio/transcriptions", [*headers, *script_headers(tag).items()], body
    )

    assert reply.status == 400
    assert provider.bill(tag) == []


CALLS: dict[str, Callable[[OpenAI, dict[str, str]], object]] = {
    "images": lambda client, headers: client.images.generate(
        model="gpt-image-1-mini", prompt="a", extra_headers=headers
    ),
    "speech": lambda client, headers: client.audio.speech.create(
        model="tts-1", voice="alloy", input="word", extra_headers=headers
    ),
    "transcriptions": lambda client, headers: client.audio.transcriptions.create(
        model="whisper-1", file=SOUND, extra_headers=headers
    ),
}


@pytest.mark.parametrize("surface", CALLS)
def test_a_hard_budget_holds_before_the_call_goes(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str, surface: str
) -> None:
    key = spendgate.key(tag, "--budget-usd", "0.000001", "--period", "total", "--hold", "strict")
    with (
        OpenAI(base_url=f"{spendgate.url}/v1", api_key=key) as client,
        pytest.raises(openai.APIStatusError) as refused,
    ):
        CALLS[surface](client, script_headers(tag))

    assert refused.value.status_code == 402
    assert provider.bill(tag) == []


def test_a_model_that_is_billed_by_the_second_has_no_price_in_a_chat(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    """Its tokens have no price, and what has no price is not free."""
    key = spendgate.key(tag, "--budget-usd", "100", "--period", "total", "--hold", "strict")
    with (
        OpenAI(base_url=f"{spendgate.url}/v1", api_key=key) as client,
        pytest.raises(openai.PermissionDeniedError) as refused,
    ):
        client.chat.completions.create(
            model="whisper-1",
            messages=[{"role": "user", "content": "word"}],
            extra_headers=script_headers(tag),
        )

    assert refused.value.code == "unknown_model"
    assert provider.bill(tag) == []


def test_pictures_that_have_no_price_are_charged_at_the_dearest(
    client: OpenAI, spendgate: Spendgate, tag: str
) -> None:
    """dall-e models are priced by the picture, which no price of ours is."""
    with pytest.raises(openai.APIStatusError):
        client.images.generate(
            model="dall-e-3", prompt="a fox", extra_headers=script_headers(tag, Script(tag, status=500))
        )

    row = spendgate.call(tag)
    assert "unknown_price" in row.flags
    assert row.nanos > 0


def test_moderations_are_free_and_written_down(client: OpenAI, spendgate: Spendgate, tag: str) -> None:
    made = client.moderations.create(input="word word word", extra_headers=script_headers(tag))

    assert not made.results[0].flagged
    row = spendgate.call(tag)
    assert (row.nanos, row["model"], row["outcome"], row.flags) == (
        0,
        "omni-moderation-latest",
        "answered",
        [],
    )
    assert row["input_tokens"] == 3


# -- what breaks off --------------------------------------------------------------------------------------------------


def test_pictures_are_charged_whole_though_the_answer_broke_off(
    client: OpenAI, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    script = Script(tag, fault="cut", after_chunks=0, output_tokens=200)
    with pytest.raises(openai.InternalServerError):
        client.images.generate(
            model="gpt-image-1-mini",
            prompt="a red fox",
            quality="low",
            extra_headers=script_headers(tag, script),
        )

    row = wait_for("the call to end", lambda: spendgate.call(tag))
    assert row["outcome"] == "broken"
    assert row.nanos >= provider.billed(tag).nanos > 0
