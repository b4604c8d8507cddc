"""One document by HTTP, whole or not at all: bounded in bytes and seconds, tried again only where nothing was sent."""

import asyncio
from urllib.parse import urljoin, urlsplit

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
)
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter
from yarl import URL

from proxy.address import is_loopback

CONNECT_SECONDS = 10.0
TRIES = 3
PAUSE_SECONDS_MAX = 2.0
REDIRECTS_MAX = 3
PIECE_BYTES = 65_536
OK = 200


class NotFetched(Exception):
    """Nothing came, or nothing of use. `place` has neither query nor credential."""

    def __init__(self, place: str, message: str, remedy: str = "") -> None:
        super().__init__(f"{place} {message}")
        self.remedy = remedy


def fetch_url(text: str) -> str:
    """Raises ValueError, without the text: it may hold a secret."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL: write one such as https://example.com/prices.json") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("is no http or https URL: write one such as https://example.com/prices.json")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password: take them out, what stands there is fetched by anybody")
    if "#" in text or "\\" in text or not all("!" <= char <= "~" for char in text):
        raise ValueError("has a fragment, or a character that no URL has: write it percent-encoded")
    return text


def shown(url: str) -> str:
    """For people and logs: a query may hold a signature."""
    return url.partition("?")[0]


def is_plain_over_network(url: str) -> bool:
    """Could whoever stands in between change what comes?"""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


async def fetch(url: str, *, bytes_max: int, seconds: float) -> bytes:
    """By GET. Variables such as HTTP_PROXY are not read. Raises NotFetched."""
    timeout = ClientTimeout(total=None, connect=CONNECT_SECONDS)
    try:
        async with (
            asyncio.timeout(seconds),
            ClientSession(timeout=timeout, auto_decompress=False, trust_env=False) as session,
        ):
            return await _followed(session, url, bytes_max)
    except TimeoutError as error:
        raise NotFetched(shown(url), f"gave no whole answer in {seconds:g} s", "try again later") from error


async def _followed(session: ClientSession, url: str, bytes_max: int) -> bytes:
    present = url
    for _ in range(REDIRECTS_MAX + 1):
        content, target = await _asked(session, present, bytes_max)
        if target is None:
            return content
        present = _redirected(present, target)
    raise NotFetched(shown(url), f"redirects more than {REDIRECTS_MAX} times", "name where it leads to")


def _redirected(present: str, target: str) -> str:
    try:
        following = fetch_url(urljoin(present, target))
    except ValueError as error:
        raise NotFetched(shown(present), f"redirects to what {error}") from error
    is_downgrade = urlsplit(present).scheme == "https" and urlsplit(following).scheme == "http"
    if is_downgrade or (is_plain_over_network(following) and not is_plain_over_network(present)):
        raise NotFetched(shown(present), "redirects to plain http", "name an https address")
    return following


async def _asked(session: ClientSession, url: str, bytes_max: int) -> tuple[bytes, str | None]:
    """The body; or where to ask instead."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "spendgate"}
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_worth_another),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential_jitter(multiplier=0.1, max=PAUSE_SECONDS_MAX, jitter=0.1),
        reraise=True,
    )

    async def connected() -> ClientResponse:
        return await session.get(URL(url, encoded=True), headers=headers, allow_redirects=False)

    try:
        answer: ClientResponse = await retrying(connected)
        async with answer:
            if "Location" in answer.headers and answer.status in (301, 302, 303, 307, 308):
                return b"", answer.headers["Location"]
            _refuse(answer, url)
            return await _body(answer, url, bytes_max), None
    except ConnectionTimeoutError as error:
        raise NotFetched(shown(url), "does not accept connections in time", "try again later") from error
    except ClientConnectorError as error:
        why = error.strerror or str(error.os_error)
        raise NotFetched(
            shown(url), f"cannot be connected to: {why}", "check the address and the network"
        ) from error
    except (ClientError, OSError, ValueError) as error:
        raise NotFetched(shown(url), f"gave no whole answer: {type(error).__name__}", "try again") from error


def _is_worth_another(error: BaseException) -> bool:
    """Only what failed to connect; a certificate that is refused once is refused again."""
    if isinstance(error, ClientConnectorCertificateError):
        return False
    return isinstance(error, ClientConnectorError | ConnectionTimeoutError)


def _refuse(answer: ClientResponse, url: str) -> None:
    if answer.status != OK:
        raise NotFetched(shown(url), f"answered {answer.status}, not {OK}", "check the address")
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise NotFetched(
            shown(url), f"came as {coding:.20}, which was not asked for", "serve it uncompressed"
        )


async def _body(answer: ClientResponse, url: str, bytes_max: int) -> bytes:
    content = bytearray()
    async for piece in answer.content.iter_chunked(PIECE_BYTES):
        content += piece
        if len(content) > bytes_max:
            raise NotFetched(shown(url), f"is larger than {bytes_max} bytes", "serve fewer prices")
    return bytes(content)
