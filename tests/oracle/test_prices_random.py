"""Any usage, at any instant: every model of every provider costs here what it costs in another engine."""

from datetime import datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pricing.usage import Usage
from tests.oracle.genai import LONG_AGO, compare, every_model, theirs

COUNTS = st.one_of(st.just(0), st.integers(0, 30), st.integers(0, 400_000))
FEW = st.one_of(st.just(0), st.integers(0, 500))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Consistent ones: each class is drawn apart, and the wholes are their sums."""
    text, audio, image, video = (draw(COUNTS) for _ in range(4))
    read, read_audio, read_image, write, write_1h = (draw(COUNTS) for _ in range(5))
    written, reasoning, citation, said, drawn, filmed = (draw(COUNTS) for _ in range(6))
    pages, annotated = draw(FEW), draw(FEW)
    return Usage(
        input_tokens=text + audio + image + video + read + read_audio + read_image + write + write_1h,
        cache_read_tokens=read + read_audio + read_image,
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        input_audio_tokens=audio + read_audio,
        input_image_tokens=image + read_image,
        input_video_tokens=video,
        cache_read_audio_tokens=read_audio,
        cache_read_image_tokens=read_image,
        output_tokens=written + reasoning + citation + said + drawn + filmed,
        reasoning_tokens=reasoning,
        citation_tokens=citation,
        output_audio_tokens=said,
        output_image_tokens=drawn,
        output_video_tokens=filmed,
        web_searches=draw(FEW),
        file_searches=draw(FEW),
        characters=draw(COUNTS),
        audio_seconds=draw(FEW),
        messages=draw(FEW),
        pages=pages + annotated,
        annotated_pages=annotated,
    )


INSTANTS = st.integers(0, 2 * 366 * 24 * 3_600).map(lambda seconds: LONG_AGO + timedelta(seconds=seconds))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(usage=usages(), at=INSTANTS, tier=st.integers(0, 5))
def test_every_model_costs_the_same_whatever_was_used_and_when(usage: Usage, at: datetime, tier: int) -> None:
    """One usage, at one instant, on all models; each in one of the tiers that it has."""
    told = theirs(usage)
    unexplained = []
    for model in every_model():
        tiers = list(model.tiers)
        found = compare(model, usage, told, at, tiers[tier % len(tiers)])
        if found is not None:
            unexplained.append(found)

    assert unexplained == []
