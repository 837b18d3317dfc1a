"""The public address from which this machine reaches the internet."""

import http.client
import ipaddress
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Final

from constructs_lib import cidr_checks
from constructs_lib.refused import RefusedError
from ops.core.errors import OpsError

# AWS's own: answers with the caller's address as one line of text.
SERVICE: Final = "https://checkip.amazonaws.com"

_SECONDS: Final = 5
_LONGEST: Final = 200  # bytes; an address has 15 characters at most


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The address that the service saw. proxy: host and port of what asked it for us, None when we asked ourselves."""

    address: str
    proxy: str | None

    @property
    def doubt(self) -> OpsError | None:
        """Why ssh may come from another address; None where it does not."""
        if self.proxy is None:
            return None
        return OpsError(
            f"{self.address} may be the address of the proxy {self.proxy}, which the request to {SERVICE} went "
            "through; ssh does not use the proxy",
            fix=f"compare with: curl --noproxy '*' {SERVICE}. If that does not answer, ask your network's "
            "administrator whether SSH is allowed out, and from which address",
        )


def own_address(service: str = SERVICE) -> str:
    """Return this machine's public IPv4 address. Raises OpsError when the service does not answer with one."""
    return seen_address(service).address


def seen_address(service: str = SERVICE) -> Seen:
    """Return the public IPv4 address and the proxy through which it was asked for, if any."""
    return Seen(address=_answer(service), proxy=_proxy(service))


def _proxy(service: str) -> str | None:
    """Return the proxy that Python uses, from http_proxy, https_proxy and no_proxy or the system's settings."""
    url = urllib.parse.urlsplit(service)
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(url.netloc):
        return None
    # Without what stands before the @: a password.
    return urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}").netloc.rpartition("@")[2]


def _answer(service: str) -> str:
    fix = f"pass your address with --address 203.0.113.7 ({SERVICE} shows it in a browser)"
    try:
        # urlopen would go on using the proxy of its first call.
        with urllib.request.build_opener().open(service, timeout=_SECONDS) as answer:
            text = answer.read(_LONGEST).decode("ascii", errors="replace").strip()
    except urllib.error.HTTPError as error:
        error.close()
        raise OpsError(f"{service} answered {error.code} instead of your public address", fix=fix) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        # What is no HTTP at all has a class, and often no words.
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise OpsError(f"{service} does not answer ({reason}), so your public address is unknown", fix=fix) from None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise OpsError(f"{service} answered {text[:60]!r} instead of your public address", fix=fix) from None
    if address.version != 4:
        raise OpsError(
            f"{service} sees you at the IPv6 address {address}, but the VPC has IPv4 only",
            fix="pass your IPv4 address with --address",
        )
    try:
        cidr_checks.deployer_cidr(f"{address}/32")
    except RefusedError as error:
        raise OpsError(
            f"{service} answered {address} instead of your public address. {error.reason.rstrip('.')}", fix=fix
        ) from None
    return str(address)
