"""Tags that a caller puts on a call: pairs of a name and a value, as in `team_project=atlas,run=17`."""

TAGS_MAX = 16
NAME_CHARS_MAX = 64
VALUE_CHARS_MAX = 256


def parse_tags(text: str) -> dict[str, str]:
    """Raises ValueError with what is wrong and what to write."""
    tags: dict[str, str] = {}
    for pair in text.split(","):
        if not pair.strip():
            continue
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or not (name + value).isprintable():
            raise ValueError("a tag is a name and a value of printable characters: write a=b,c=d")
        if len(name) > NAME_CHARS_MAX or len(value) > VALUE_CHARS_MAX:
            raise ValueError(
                f"a tag's name has at most {NAME_CHARS_MAX} characters and its value {VALUE_CHARS_MAX}"
            )
        if name in tags:
            raise ValueError(f'the tag "{name}" stands twice: keep one')
        tags[name] = value
        if len(tags) > TAGS_MAX:
            raise ValueError(f"a call has at most {TAGS_MAX} tags")
    return tags
