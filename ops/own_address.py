"""The public address from which this machine reaches the internet."""

import http.client
import ipaddress
import urllib.error
import urllib.request
from typing import Final

from ops.commands.base import OpsError

# AWS's own: answers with the caller's address as one line of text.
SERVICE: Final = "https://checkip.amazonaws.com"

_SECONDS: Final = 5
_LONGEST: Final = 200  # bytes; an address has 15 characters at most


def own_address(service: str = SERVICE) -> str:
    """This machine's public IPv4 address. Raises OpsError when the service does not answer with one."""
    way_out = "Name your address yourself: --address 203.0.113.7 (a browser at that page shows it)"
    try:
        with urllib.request.urlopen(service, timeout=_SECONDS) as answer:
            text = answer.read(_LONGEST).decode("ascii", errors="replace").strip()
    except urllib.error.HTTPError as error:
        error.close()
        raise OpsError(f"{service} answered {error.code} instead of your public address. {way_out}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        # What is no HTTP at all has a class, and often no words.
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise OpsError(
            f"{service} does not answer, so your public address is not known ({reason}). {way_out}"
        ) from None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise OpsError(f"{service} answered {text[:60]!r} instead of your public address. {way_out}") from None
    if address.version != 4:
        raise OpsError(
            f"you reach {service} over IPv6 ({address}), and the VPC has IPv4 only. Name your IPv4 address: --address"
        )
    return str(address)
