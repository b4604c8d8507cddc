"""When a new certificate is taken, and what happens to a bad one."""

import os
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from proxy.tls import Certificate, CertificateError

AUTHORITY = trustme.CA()


class Files:
    """A certificate and its key on disk, replaced as tools do: a new file renamed over the old."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"

    def write(self, name: str) -> None:
        issued = AUTHORITY.issue_cert(name)
        self.put(self.cert, b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.put(self.key, issued.private_key_pem.bytes())

    def put(self, path: Path, content: bytes) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.write("first.example")
    return files


def name_served(context: ssl.SSLContext) -> str:
    """The name in the certificate that a client is shown, over a handshake in memory."""
    client = ssl.create_default_context()
    client.check_hostname = False
    AUTHORITY.configure_trust(client)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="any.example"),
        context.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = ends[0].getpeercert()
    assert shown is not None, "no handshake"
    return str(shown["subjectAltName"][0][1])


def test_an_unchanged_pair_is_left_alone(files: Files) -> None:
    certificate = Certificate(files.cert, files.key)

    assert [certificate.reload_if_changed() for _ in range(3)] == [False, False, False]
    assert name_served(certificate.context) == "first.example"


def test_a_new_pair_is_served_once_two_looks_found_it_at_rest(files: Files) -> None:
    certificate = Certificate(files.cert, files.key)
    files.write("second.example")

    assert not certificate.reload_if_changed()
    assert name_served(certificate.context) == "first.example"
    assert certificate.reload_if_changed()
    assert name_served(certificate.context) == "second.example"
    assert not certificate.reload_if_changed()


def test_files_that_still_change_are_not_loaded(files: Files) -> None:
    certificate = Certificate(files.cert, files.key)
    for name in ("a.example", "b.example", "c.example"):
        files.write(name)
        assert not certificate.reload_if_changed()

    assert certificate.reload_if_changed()
    assert name_served(certificate.context) == "c.example"


def test_a_change_of_same_size_and_time_is_seen_by_its_inode(files: Files) -> None:
    certificate = Certificate(files.cert, files.key)
    times = [(path, path.stat()) for path in (files.cert, files.key)]
    files.write("other.example")
    for path, before in times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    certificate.reload_if_changed()
    assert certificate.reload_if_changed()


def test_a_bad_pair_is_told_once_and_the_old_one_served_on(files: Files) -> None:
    certificate = Certificate(files.cert, files.key)
    stranger = AUTHORITY.issue_cert("stranger.example")
    files.put(files.key, stranger.private_key_pem.bytes())  # of another certificate

    assert not certificate.reload_if_changed()
    with pytest.raises(CertificateError, match="cannot be used"):
        certificate.reload_if_changed()
    assert not certificate.reload_if_changed()
    assert name_served(certificate.context) == "first.example"

    files.write("mended.example")
    certificate.reload_if_changed()
    assert certificate.reload_if_changed()
    assert name_served(certificate.context) == "mended.example"


def test_a_file_that_is_away_for_a_moment_changes_nothing(files: Files) -> None:
    certificate = Certificate(files.cert, files.key)
    kept = files.cert.read_bytes()
    files.cert.unlink()

    assert [certificate.reload_if_changed() for _ in range(3)] == [False, False, False]

    files.cert.write_bytes(kept)
    certificate.reload_if_changed()
    assert certificate.reload_if_changed()


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"\x00\xff"])
def test_a_start_without_a_certificate_says_which_files(files: Files, content: bytes) -> None:
    files.cert.write_bytes(content)

    with pytest.raises(CertificateError, match=r"cert\.pem and .*key\.pem cannot be used"):
        Certificate(files.cert, files.key)


def test_an_encrypted_key_does_not_ask_the_terminal(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )

    with pytest.raises(CertificateError, match="encrypted"):
        Certificate(files.cert, files.key)
