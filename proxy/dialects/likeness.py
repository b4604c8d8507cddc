"""What makes two calls alike: what was said since the model last spoke, and the tools that it called then.

An agent sends its whole conversation again each turn, so most of any body is no sign of anything. Names that are made up
for each call are left out: those of tool calls, thoughts that come encrypted, marks for caches."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from proxy.dialects import Reading, Turn

KEPT_BYTES_MAX = 131_072  # of a body whose parsed form is kept while its call goes on
END_CHARS = 4_096  # taken of the beginning, and as many of the end
STEPS_MAX = 256  # values looked at from either end
ITEMS_MAX = 64  # of a turn: messages, tool calls and their results
_MODEL_ROLES = ("assistant", "model")
_TOOL_CALLS = ("tool_calls", "function_call")
_LEFT_OUT = frozenset(
    {"id", "tool_call_id", "call_id", "tool_use_id", "item_id", "status", "annotations", "cache_control"}
    | {
        "signature",
        "thoughtSignature",
        "thought_signature",
        "encrypted_content",
        "reasoning_content",
        "thinking",
    }
)

# The caller's own words, whatever they are called: arguments of tools and what tools gave back.
_OWN_WORDS = frozenset({"input", "args", "arguments", "response"})


def likeness(reading: Reading) -> bytes | None:
    """The same bytes for calls that are alike; at most some 16 kB. None where nothing is known of the call's turn."""
    turn = () if reading.turn is None else reading.turn()
    if not turn:
        return None
    return "\0".join((reading.model, *turn)).encode("utf-8", "surrogatepass")


def turn_of(items: list[Any], *before: Any, body_bytes: int) -> Turn:
    """Of a conversation's messages or items, oldest first. `before`: what else tells two conversations apart in which the
    model has not spoken yet, such as instructions. It is worked out when it is asked for, which is hardly ever; of long
    bodies at once, so that nothing of them is kept."""
    if body_bytes <= KEPT_BYTES_MAX:
        return partial(_turn, items, before)
    told = _turn(items, before)
    return lambda: told


def _turn(items: list[Any], before: tuple[Any, ...]) -> tuple[str, ...]:
    first_said = len(items)
    while first_said and len(items) - first_said < ITEMS_MAX and not _is_models(items[first_said - 1]):
        first_said -= 1
    asked = first_said
    while asked and first_said - asked < ITEMS_MAX and _is_models(items[asked - 1]):
        asked -= 1
    spoken, said = items[asked:first_said], items[first_said:]
    calls = [call for item in spoken for call in _calls(item)]
    return _ends([*(calls or spoken), *said] if spoken else [*((each,) for each in before), *said])


def _is_models(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    if item.get("role") in _MODEL_ROLES:
        return True
    kind = item.get("type")
    return isinstance(kind, str) and (kind.endswith("_call") or kind == "reasoning")


def _calls(item: dict[str, Any]) -> Iterator[Any]:
    """The tool calls in what the model said, in the shapes of each wire API."""
    kind = item.get("type")
    if isinstance(kind, str) and kind.endswith("_call"):
        yield item
    for name in _TOOL_CALLS:
        if item.get(name):
            yield item[name]
    for part in _list(item.get("content")) or _list(item.get("parts")):
        if isinstance(part, dict) and (
            part.get("type") == "tool_use" or "functionCall" in part or "function_call" in part
        ):
            yield part


def _ends(values: list[Any]) -> tuple[str, ...]:
    """The texts of these values from either end, whole where they are short."""
    head, whole = _taken(values, backwards=False)
    return (*head,) if whole else (*head, *_taken(values, backwards=True)[0])


def _taken(values: list[Any], *, backwards: bool) -> tuple[list[str], bool]:
    """Texts until there are enough, and whether these are all. One that is cut is told with its length. A tuple, which is
    in no JSON, holds a value in which nothing is left out."""
    taken, left, steps = list[str](), END_CHARS, 0
    stack = values[:] if backwards else values[::-1]
    while stack:
        value = stack.pop()
        steps += 1
        if steps > STEPS_MAX:
            return taken, False
        is_own = type(value) is tuple
        if is_own:
            value = value[0]
        if isinstance(value, str):
            if len(value) > left:
                cut = value[len(value) - left :] if backwards else value[:left]
                return [*taken, cut, str(len(value))], False
            taken.append(value)
            left -= len(value)
        elif isinstance(value, dict | list):
            inner = _inner(value, is_own, backwards=backwards)
            stack += inner if backwards else inner[::-1]
        elif value is not None:
            taken.append(str(value))
    return taken, True


def _inner(value: dict[str, Any] | list[Any], is_own: bool, *, backwards: bool) -> list[Any]:
    """What is in an object or a list, in its order: as much from either end as would be looked at."""
    if isinstance(value, list):
        some = value[-STEPS_MAX:] if backwards else value[:STEPS_MAX]
        return [(each,) for each in some] if is_own else some
    if len(value) > STEPS_MAX:
        value = dict(list(value.items())[-STEPS_MAX:] if backwards else islice(value.items(), STEPS_MAX))
    inner = list[Any]()
    for name, each in value.items():
        if is_own or name not in _LEFT_OUT:
            inner += (name, (each,) if is_own or name in _OWN_WORDS else each)
    return inner


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
