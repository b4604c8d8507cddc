"""Where to listen: "host:port" as people write it."""

import ipaddress
from dataclasses import dataclass

PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or address without brackets, and a port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Does traffic to this host stay on the machine?"""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: object) -> Address:
    """Raises ValueError with what to write."""
    if isinstance(text, Address):
        return text
    if not isinstance(text, str):
        raise ValueError(f'{text} is not an address: write it as text, "127.0.0.1:4000"')
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ValueError(
            f'"{text:.60}" has no port of 0 to {PORT_MAX}: write host:port, as in 127.0.0.1:4000'
        )
    return Address(_host(host, text), int(port))


def _host(host: str, text: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f'"{text:.60}" holds no IPv6 address: write it as in [::1]:4000') from None
    if ":" in host:
        raise ValueError(
            f'"{text:.60}" has more than one port: an IPv6 address stands in brackets, as in [::1]:4000'
        )
    if not host:
        raise ValueError(
            f'"{text:.60}" has no host: write 127.0.0.1{text}, or 0.0.0.0{text} for every interface'
        )
    if not host.isascii() or not all(char.isalnum() or char in "-._" for char in host):
        raise ValueError(f'"{text:.60}" holds no host name: write host:port, as in 127.0.0.1:4000')
    return host
