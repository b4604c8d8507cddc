"""What may be set on the way to a provider: headers that every call carries, and an HTTP proxy in between."""

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from proxy.address import Address

_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_OWN_PREFIX = "x-spendgate-"
# Of the hop, of framing, credentials, and what changes how a body or a method is read.
_NOT_TO_BE_SET = frozenset(
    {
        "api-key",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
        "x-goog-api-key",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    }
)


def header_name(name: str) -> str:
    """Raises ValueError for what no provider's settings may decide."""
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f'"{name:.60}" is no name of a header: use letters, digits and -')
    lowered = name.lower()
    if lowered in _NOT_TO_BE_SET or lowered.startswith(_OWN_PREFIX):
        raise ValueError(
            f'"{name:.60}" belongs to each call itself: take it out; credentials go into api_key'
        )
    return name


def header_value(text: str) -> str:
    """Raises ValueError, without the value."""
    if not all(" " <= char <= "~" for char in text) or text != text.strip():
        raise ValueError(
            "holds a character that no header may carry: check for spaces around it and line ends"
        )
    return text


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """It is told where to connect to: by CONNECT for https, by an absolute URL for http."""

    address: Address
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        """For people: without its credential."""
        secret = "[redacted]@" if self.user or self.password else ""
        return f"http://{secret}{self.address}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def authorization(self) -> str:
        """The value of Proxy-Authorization; empty where it asks for none."""
        if not self.user and not self.password:
            return ""
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


def parse_http_proxy(text: str) -> HttpProxy:
    """Raises ValueError, without the text: it may hold a password."""
    if not all("!" <= char <= "~" for char in text):
        raise ValueError("holds a character that no URL has: write it percent-encoded")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _no_http_proxy() from None
    host = parts.hostname or ""
    if parts.scheme != "http" or not port or not _HOST.fullmatch(host):
        raise _no_http_proxy()
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        raise _no_http_proxy()
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if ":" in user:
        raise ValueError(
            "has a colon in its user, which no proxy could tell from the password: use another user"
        )
    return HttpProxy(Address(host, port), user, password)


def _no_http_proxy() -> ValueError:
    return ValueError(
        "is no HTTP proxy: write http://host:port or http://user:password@host:port, percent-encoded"
    )
