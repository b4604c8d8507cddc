"""How the command line finds the live server of a data folder, proves that it may, and asks."""

import contextlib
import ipaddress
import os
import secrets
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import orjson

from proxy import lock

FILE = "control.json"
ANSWER_BYTES_MAX = 64 << 20
ASK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Control:
    """What a server says of itself in its data folder. The token is new at every start."""

    admin_url: str
    data_url: str
    token: str = field(repr=False)
    pid: int
    version: str


class ControlError(Exception):
    """The live server could not be asked, or said no. `status` is 0 where it did not answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def new_token() -> str:
    return secrets.token_urlsafe(32)


def write(data_dir: Path, control: Control) -> None:
    """Whole or not at all, and readable by its owner alone from its first byte on."""
    draft = data_dir / f"{FILE}.{control.pid}"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(asdict(control), option=orjson.OPT_INDENT_2))
    draft.replace(data_dir / FILE)


def remove(data_dir: Path) -> None:
    """At a clean stop. A file that a killed server left is not believed by `find`."""
    (data_dir / FILE).unlink(missing_ok=True)


def find(data_dir: Path) -> Control | None:
    """The live server of a folder. None: no file, or the one that a dead server left."""
    try:
        control = Control(**orjson.loads((data_dir / FILE).read_bytes()))
        # The process first: asking for the lock, even for a moment, could keep a starting server from it.
        is_alive = _is_alive(control.pid) and lock.is_held(data_dir)
    except (OSError, ValueError, TypeError, OverflowError):
        return None
    return control if is_alive else None


def reachable_url(host: str, port: int, *, scheme: str = "http") -> str:
    """Where this machine reaches a listener: one on every address is reached by the loopback."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
        if address.version == 6:
            host = f"[{host}]"
    return f"{scheme}://{host or '127.0.0.1'}:{port}"


def ask(
    control: Control, method: str, path: str, body: object = None, *, timeout_seconds: float = ASK_SECONDS
) -> Any:
    """The JSON answer of the live server's admin API. Raises ControlError with its own words when it says no."""
    request = urllib.request.Request(  # noqa: S310 - the scheme is the server's own, from a file of mode 0600
        control.admin_url + path,
        method=method,
        data=None if body is None else orjson.dumps(body),
        headers={"Authorization": f"Bearer {control.token}", "Content-Type": "application/json"},
    )
    try:
        with _OPENER.open(request, timeout=timeout_seconds) as answer:
            return orjson.loads(answer.read(ANSWER_BYTES_MAX))
    except urllib.error.HTTPError as error:
        with error:
            raise ControlError(_message(error), status=error.code) from error
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        raise ControlError(
            f"the server with pid {control.pid} does not answer at {control.admin_url}: {reason}"
        ) from error


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Without the proxies of the environment: the token stays on this machine."""


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(orjson.loads(error.read(ANSWER_BYTES_MAX))["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the server answered {error.code} {error.reason}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True
