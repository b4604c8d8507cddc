"""HTTPS for callers, and a certificate that is replaced while the server runs."""

import asyncio
import json
import ssl
from pathlib import Path

import trustme

from proxy.app import running
from proxy.config import environ, load_config
from tests.support.process import Spendgate, config_for

PLAIN = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Pair:
    """A certificate for localhost and its key, issued anew by an authority that clients trust."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._cert, self._key = folder / "cert.pem", folder / "key.pem"
        self._key.touch(mode=0o600)

    def write(self) -> bytes:
        """The certificate as a client sees it."""
        issued = self._authority.issue_cert("localhost")
        self._cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self._key.write_bytes(issued.private_key_pem.bytes())
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context


async def health(port: int, context: ssl.SSLContext) -> tuple[bytes, bytes]:
    """The certificate shown, and the body of the answer."""
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.write(PLAIN)
    answer = await reader.read()
    writer.close()
    return shown, answer.partition(b"\r\n\r\n")[2]


async def test_callers_are_served_over_tls_and_a_new_certificate_is_taken_while_the_server_runs(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "spendgate"
    folder.mkdir()
    pair = Pair(folder)
    first = pair.write()
    tls = {"cert_file": "cert.pem", "key_file": "key.pem"}
    Spendgate(folder, config_for("http://127.0.0.1:1", tls=tls)).prepare()

    async with running(load_config(folder / "config.yaml", environ())) as up:
        assert up.data_url.startswith("https://")
        port = int(up.data_url.rpartition(":")[2])
        shown, body = await health(port, pair.client())
        assert shown == first
        assert json.loads(body)["status"] == "healthy"

        second = pair.write()
        async with asyncio.timeout(20):
            while (await health(port, pair.client()))[0] != second:
                await asyncio.sleep(0.2)
