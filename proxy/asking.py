"""What Spendgate asks of a provider on its own account: with its own credential, in bounds of bytes and lines."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from proxy.dialects import Dialect
from proxy.routing import target
from proxy.settings import Config
from proxy.upstream import UpstreamFailure

LINE_BYTES_MAX = 32 << 20  # an answer with pictures in it still fits


class NotTold(Exception):
    """The provider did not answer as asked; `status` is 0 where it did not answer. `too_large`: it did, with more than the
    bound, of which `bytes_left` were not read."""

    def __init__(self, reason: str, *, status: int = 0, too_large: bool = False, bytes_left: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.too_large = too_large
        self.bytes_left = bytes_left

    @property
    def is_gone(self) -> bool:
        return self.status in (404, 410)


@dataclass(frozen=True, slots=True)
class Asking:
    config: Config
    dialects: Mapping[str, Dialect]
    upstreams: Mapping[str, Any]

    async def pieces(
        self,
        provider: str,
        path: str,
        query: str = "",
        *,
        headers: Sequence[tuple[str, str]] = (),
        bytes_max: int,
    ) -> AsyncGenerator[bytes, None]:
        """The body of a GET. Raises NotTold. Whoever stops before its end closes it."""
        settings = self.config.providers.get(provider)
        if settings is None or not settings.configured:
            raise NotTold(f'provider "{provider}" is not configured')
        own = settings.default_headers
        secret = "" if settings.api_key is None else settings.api_key.get_secret_value()
        sent = [("Accept", "*/*"), ("Accept-Encoding", "identity"), *own]
        sent += [each for each in headers if each[0].lower() not in {name.lower() for name, _ in own}]
        sent += self.dialects[provider].credential(secret) if secret else ()
        answer = None
        try:
            answer = await self.upstreams[provider].send(
                "GET", target(settings.base_url, path, query), sent, None, on_sent=lambda: None
            )
            if answer.status != 200:
                raise NotTold(f"{path} was answered with {answer.status}", status=answer.status)
            told = {name.lower(): value.strip() for name, value in answer.headers}
            if told.get("content-encoding", "identity").lower() != "identity":
                raise NotTold(f"{path} came compressed")
            length, read = told.get("content-length", ""), 0
            async for piece in answer.pieces():
                read += len(piece)
                if read > bytes_max:
                    left = int(length) - bytes_max if length.isdecimal() else 0
                    raise NotTold(f"{path} is larger than {bytes_max} bytes", too_large=True, bytes_left=left)
                yield piece
        except UpstreamFailure as failure:
            raise NotTold(f"{path} could not be read: {failure.detail}") from failure
        finally:
            if answer is not None:
                answer.close()

    async def body(
        self,
        provider: str,
        path: str,
        query: str = "",
        *,
        headers: Sequence[tuple[str, str]] = (),
        bytes_max: int,
    ) -> bytes:
        """Raises NotTold."""
        async with aclosing(
            self.pieces(provider, path, query, headers=headers, bytes_max=bytes_max)
        ) as pieces:
            return b"".join([piece async for piece in pieces])


async def line_blocks(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Whole lines, as many as came at once; blank ones left out. Raises NotTold for one that is too long."""
    parts: list[bytes] = []
    size = 0
    async for piece in pieces:
        first, *others = piece.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > LINE_BYTES_MAX:
            raise NotTold(f"a line is longer than {LINE_BYTES_MAX} bytes", too_large=True)
        if others:
            yield [line for line in (b"".join(parts), *others[:-1]) if line.strip()]
            parts, size = [others[-1]], len(others[-1])
    last = b"".join(parts)
    if last.strip():
        yield [last]
