"""The server's own certificate: read at the start, and again when its files have changed and then rested. And whom it
trusts as a client."""

import ssl
from pathlib import Path

_Look = tuple[tuple[int, int, int], ...]
"""Of both files: modification time, size and inode."""


class CertificateError(Exception):
    """The two files are no certificate with its key. What was in use before stays in use."""


class Certificate:
    """`context` is for the server, for good: new connections get whatever pair was loaded last."""

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        """Raises CertificateError."""
        self._files = (cert_file, key_file)
        self._loaded = self._seen = self._look()
        self.context = load_pair(cert_file, key_file)

    def reload_if_changed(self) -> bool:
        """True when a new pair is in use. To be asked every few seconds: a change counts once two looks in a row have
        found the same, so that half of a pair is never loaded. Raises CertificateError, once for each bad pair."""
        seen, before = self._look(), self._seen
        self._seen = seen
        if seen == self._loaded or seen != before or not seen:
            return False
        self._loaded = seen
        load_pair(*self._files)  # tried apart: a context that fails halfway would serve nobody
        _load_into(self.context, *self._files)
        return True

    def _look(self) -> _Look:
        """Nothing while a file is missing: it is being replaced."""
        try:
            found = [file.stat() for file in self._files]
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


def load_pair(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """A server's context with that certificate. Raises CertificateError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_into(context, cert_file, key_file)
    return context


def trusting(ca_file: Path | None, *, verify: bool) -> ssl.SSLContext:
    """A client's context: what the system trusts, and the authorities of a file; or, unverified, anybody. Raises
    CertificateError."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            raise CertificateError(f"{ca_file} cannot be used: {reason}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_into(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    def no_passphrase() -> str:
        raise CertificateError(f"{key_file} is encrypted: a server starts without anybody to ask")

    try:
        context.load_cert_chain(cert_file, key_file, password=no_passphrase)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise CertificateError(f"{cert_file} and {key_file} cannot be used: {reason}") from error
