"""Multipart forms read strictly: the fields are peeked at, files stay where they are. What two readers could read
differently is refused, so that the model which is priced is the model which is served."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy.dialects import BadBody

PARTS_MAX = 256
HEADER_BYTES_MAX = 4_096  # of one part
FIELD_BYTES_MAX = 262_144  # of one field that is read: the longest prompt is 32,000 characters
HEAD_BYTES_MAX = 65_536  # of a file that is looked at: where pictures and sounds tell their size

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# A quoted value without escapes: readers disagree on what a backslash does. Pairs of them are what file names have.
_PARAMETER = re.compile(rf';[ \t]*({_WORD})=(?:"((?:[^"\\\r\n\x00]|\\\\)*)"|({_WORD}))[ \t]*')
_TYPE = re.compile(rf"{_WORD}/{_WORD}[ \t]*")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_HEADER = re.compile(rf"({_WORD}):[ \t]*([^\r\n\x00]*)")
_CHARSETS = (
    "",
    "utf-8",
    "us-ascii",
    "iso-8859-1",
    "windows-1252",
)  # in which a model's name has the same bytes
_ENCODINGS = ("", "7bit", "8bit", "binary")


@dataclass(frozen=True, slots=True)
class FilePart:
    """Where a file stands in the body. Its bytes are not copied."""

    name: str
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(slots=True)
class Form:
    """The fields that were asked for, as text; every file's place."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[FilePart] = field(default_factory=list)

    def files_of(self, *names: str) -> list[FilePart]:
        """Of these names, an array's brackets left aside."""
        return [part for part in self.files if _plain(part.name) in names]


def is_form(content_type: str) -> bool:
    return content_type.lstrip(" \t").lower().startswith("multipart/")


def head_of(body: bytes, part: FilePart) -> bytes:
    """A file's first bytes."""
    return body[part.start : min(part.end, part.start + HEAD_BYTES_MAX)]


def read_form(body: bytes, content_type: str, wanted: Iterable[str]) -> Form:
    """The wanted fields of a `multipart/form-data` body. Raises BadBody, and nothing else.

    No preamble, no epilogue, CRLF only, and the boundary nowhere but where it bounds. A wanted field stands once, under
    its very name, and is no file; other fields may repeat."""
    asked = frozenset(wanted)
    form = Form()
    taken: set[str] = set()
    for start, end in _parts(body, boundary_of(content_type)):
        content = _end_of_headers(body, start, end)
        headers = _headers(body[start : content - 4])
        name, is_file = _disposition(headers)
        plain = _plain(name)
        if plain in asked:
            if name != plain:
                raise BadBody(
                    f'"{plain}" must be sent under its plain name', param=plain, code="invalid_form"
                )
            if is_file:
                raise BadBody(f'"{plain}" must be a field, not a file', param=plain, code="invalid_form")
            if plain in taken:
                raise BadBody(f'the field "{plain}" stands twice', param=plain, code="duplicate_key")
            taken.add(plain)
            form.fields[plain] = _text(headers, plain, body, content, end)
        elif is_file:
            form.files.append(FilePart(name, content, end))
    return form


def boundary_of(content_type: str) -> bytes:
    """Raises BadBody for any other type than `multipart/form-data` with one plain boundary."""
    kind, parameters = _typed(content_type)
    if kind != "multipart/form-data":
        raise _bad("the body must be multipart/form-data")
    if any(name.startswith("boundary*") for name in parameters):
        raise _bad("the content type's boundary must be plain")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _bad("the content type must name a boundary of 1 to 70 plain characters")
    return boundary.encode("ascii")


# -- the parts --------------------------------------------------------------------------------------------------------


def _parts(body: bytes, boundary: bytes) -> list[tuple[int, int]]:
    """Where each part's headers begin and its content ends."""
    mark = b"--" + boundary
    if not body.startswith(mark):
        raise _bad("the body must begin with its boundary")
    parts: list[tuple[int, int]] = []
    at = len(mark)
    while body[at : at + 2] != b"--":
        if body[at : at + 2] != b"\r\n":
            raise _bad("a boundary must end its line: it may not stand in the content")
        if len(parts) == PARTS_MAX:
            raise _bad(f"the form has more than {PARTS_MAX} parts")
        start = at + 2
        found = body.find(mark, start)
        if found < 0:
            raise _bad("the form's closing boundary is missing")
        if body[found - 2 : found] != b"\r\n":
            raise _bad("a boundary must begin its line: it may not stand in the content")
        parts.append((start, found - 2))
        at = found + len(mark)
    if body[at + 2 :] not in (b"", b"\r\n"):
        raise _bad("nothing may follow the form's closing boundary")
    return parts


def _end_of_headers(body: bytes, start: int, end: int) -> int:
    """Where a part's content begins."""
    found = body.find(b"\r\n\r\n", start, min(end, start + HEADER_BYTES_MAX))
    if found < 0:
        raise _bad(f"a part's headers must end in an empty line within {HEADER_BYTES_MAX} bytes")
    return found + 4


def _headers(raw: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in raw.split(b"\r\n"):
        try:
            match = _HEADER.fullmatch(line.decode())
        except UnicodeDecodeError as error:
            raise _bad("a part's headers must be UTF-8") from error
        if match is None:
            raise _bad("a part's headers must stand one on a line, unfolded, in CRLF")
        name = match[1].lower()
        if name in headers:
            raise _bad(f'a part has the header "{name[:40]}" twice')
        headers[name] = match[2].strip(" \t")
    return headers


def _disposition(headers: dict[str, str]) -> tuple[str, bool]:
    """A part's name, and whether it is a file."""
    kind, parameters = _parameters(headers.get("content-disposition", ""), re.compile(rf"{_WORD}[ \t]*"))
    if kind != "form-data" or not parameters.get("name"):
        raise _bad("each part must say Content-Disposition: form-data with a name")
    name = parameters["name"]
    if "name*" in parameters or "\\" in name or "%" in name or not name.isprintable():
        raise _bad("a part's name must be plain")
    if headers.get("content-transfer-encoding", "").lower() not in _ENCODINGS:
        raise _bad("a part's transfer encoding must be binary")
    return name, "filename" in parameters or "filename*" in parameters


def _typed(content_type: str) -> tuple[str, dict[str, str]]:
    return _parameters(content_type, _TYPE)


def _parameters(value: str, kind: re.Pattern[str]) -> tuple[str, dict[str, str]]:
    """The word before the first semicolon, and the parameters: each once, names without regard to case."""
    value = value.strip(" \t")
    match = kind.match(value)
    at = match.end() if match else 0
    parameters: dict[str, str] = {}
    while match and at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None or match[1].lower() in parameters:
            raise _bad("the parameters of a form's header must be plain, and each stand once")
        parameters[match[1].lower()] = match[3] if match[2] is None else match[2]
        at = match.end()
    return value[: value.find(";")].rstrip(" \t").lower() if ";" in value else value.lower(), parameters


def _text(headers: dict[str, str], name: str, body: bytes, start: int, end: int) -> str:
    kind, parameters = _typed(headers.get("content-type", "text/plain"))
    if kind != "text/plain" or parameters.get("charset", "").lower() not in _CHARSETS:
        raise BadBody(f'the field "{name}" must be plain text in UTF-8', param=name, code="invalid_form")
    if end - start > FIELD_BYTES_MAX:
        raise BadBody(
            f'the field "{name}" is longer than {FIELD_BYTES_MAX} bytes', param=name, code="invalid_form"
        )
    try:
        return body[start:end].decode()
    except UnicodeDecodeError as error:
        raise BadBody(f'the field "{name}" is not UTF-8', param=name, code="invalid_form") from error


def _plain(name: str) -> str:
    """As a lenient reader may take it: without brackets and case, and spaces around it."""
    return name.partition("[")[0].strip().casefold()


def _bad(message: str) -> BadBody:
    return BadBody(message, code="invalid_form")


# -- reading values ---------------------------------------------------------------------------------------------------

_TRUE = ("true", "1", "yes", "on", "y", "t")
_FALSE = ("false", "0", "no", "off", "n", "f", "null", "none", "")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,8}")


def form_count(form: Form, name: str, *, least: int, most: int) -> int | None:
    """A whole number within bounds; an absent field is None."""
    value = form.fields.get(name)
    if value is None:
        return None
    if not _WHOLE.fullmatch(value) or not least <= int(value) <= most:
        raise BadBody(f'"{name}" must be a whole number from {least} to {most}', param=name)
    return int(value)


def form_flag(form: Form, name: str) -> bool:
    value = form.fields.get(name, "").lower()
    if value not in _TRUE and value not in _FALSE:
        raise BadBody(f'"{name}" must be true or false', param=name)
    return value in _TRUE
