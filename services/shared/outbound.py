"""Which addresses a webhook may reach: public ones, and those the operator lists.

A webhook makes the service connect to an address that a user chose (SSRF): without
a check to the database, an internal admin page, or a cloud's metadata service. So a
name is resolved once, all its addresses are checked, and the connection goes to a
checked address, not to the name again.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from refault.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS = {"http": 80, "https": 443}
_URL_LENGTH_MAX = 2000
_HOST_LENGTH_MAX = 253
# RFC 1035, plus the underscore, which some hosts use.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PRINTABLE = re.compile(r"[!-~]+")
# IPv6 addresses that embed an IPv4 address: a translator or a tunnel would forward to it.
_CARRIERS = tuple(
    ipaddress.ip_network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
# Not private to Python's ipaddress, but not public either.
_SPECIAL = tuple(
    ipaddress.ip_network(text) for text in ("100.64.0.0/10", "192.88.99.0/24", "fec0::/10", "::/96")
)


@dataclasses.dataclass(frozen=True)
class Target:
    """The target of a webhook's URL."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks from a comma-separated list; a ValueError names an invalid one."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def parse_url(url: str) -> Target:
    """The target of a URL; :class:`~refault.errors.InvalidRequest` if it is not allowed."""
    if len(url) > _URL_LENGTH_MAX or not _PRINTABLE.fullmatch(url):
        raise InvalidRequest(f"url: at most {_URL_LENGTH_MAX} ASCII characters without blanks")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"url: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InvalidRequest("url: expected https://host/path or http://host/path")
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest("url: no user and no password; messages are signed")
    if parts.fragment or port == 0:
        raise InvalidRequest("url: no fragment, and no port 0")
    _check_host(parts.hostname, is_bracketed="[" in parts.netloc)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


def _check_host(host: str, *, is_bracketed: bool) -> None:
    """Refuses a host that is neither an address nor a name, before any resolver sees it.

    Python's resolver raises UnicodeError, not OSError, for an empty or a long label.
    """
    if is_bracketed:
        try:
            # A zone names one of our interfaces, which a user cannot know.
            is_host = ipaddress.IPv6Address(host).scope_id is None
        except ValueError:
            is_host = False
    else:
        labels = host.removesuffix(".").split(".")
        is_host = len(host) <= _HOST_LENGTH_MAX and all(map(_LABEL.fullmatch, labels))
    if not is_host:
        raise InvalidRequest(
            f"url: {host[:80]!r} is not a host: a name has labels of 1 to 63 of a-z 0-9 - with "
            f"dots between, {_HOST_LENGTH_MAX} characters in all; an IPv6 address has no zone"
        )


def check_literal(target: Target, allowed: Sequence[Network]) -> None:
    """Refuses a literal address that is not allowed; names are checked when sending."""
    try:
        address = ipaddress.ip_address(target.host)
    except ValueError:
        return
    if not is_permitted(address, allowed):
        raise InvalidRequest(f"url: {_refusal(target, address)}")


def resolve(target: Target, allowed: Sequence[Network]) -> str:
    """The address to connect to.

    Raises:
        InvalidRequest: one of the host's addresses is neither public nor listed. All must be
            allowed: a mix is suspicious.
        OSError: the name does not resolve, or to nothing.
    """
    # The resolver normalises old forms of IPv4 addresses (2130706433, 0x7f.1).
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise OSError(f"{target.host} has no address")
    for address in addresses:
        if not is_permitted(address, allowed):
            raise InvalidRequest(_refusal(target, address))
    return str(addresses[0])


def is_permitted(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether a message may go there."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address.version == network.version and address in network for network in allowed):
        return True
    if any(
        address.version == network.version and address in network
        for network in (*_CARRIERS, *_SPECIAL)
    ):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _refusal(target: Target, address: Address) -> str:
    is_literal = target.host == str(address)
    where = target.host if is_literal else f"{target.host} is {address}, which"
    return (
        f"{where} is not a public address; an operator can allow its network with "
        "REFAULT_WEBHOOK_NETWORKS"
    )
