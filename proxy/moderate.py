"""Calls made cheaper: another model, or a shorter answer. The bytes are spliced, the rest of the body stays as it came."""

from collections.abc import Callable
from dataclasses import replace

import orjson

from proxy.dialects.body import splice, value_of
from proxy.opencall import OpenCall


def can_be_edited(call: OpenCall, *, exact: bool) -> bool:
    """Not what was asked for to the byte, nor what is compressed, a form, or many requests in one."""
    reading = call.reading
    return not (exact or call.coded or reading is None or reading.media or reading.batch)


def downgrade(call: OpenCall, model: str, *, provider_of: Callable[[str], str | None]) -> bool:
    """Ask for another model. False where the model does not stand in the body, or another provider serves it."""
    reading = call.reading
    if reading is None or value_of(call.body, "model") is None:
        return False
    provider = provider_of(model)
    if provider is not None and provider != call.call.provider and not call.route.chosen:
        return False
    call.body = splice(call.body, "model", orjson.dumps(model))
    call.reading = replace(reading, model=model)
    call.asked_model = call.row.asked_model = call.asked_model or call.call.model
    call.call = replace(call.call, model=model)
    call.row.model = model
    return True


def shorten(call: OpenCall, tokens: int) -> None:
    """Ask for no more than that of each choice."""
    api, reading = call.surface.api, call.reading
    assert api is not None, "only a metered call is shortened"
    assert reading is not None, "an unread call cannot be shortened"
    call.body = api.with_output_cap(call.body, reading, tokens)
    if "capped" not in call.row.flags:
        call.row.flags.append("capped")
