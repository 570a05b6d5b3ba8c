"""By which address a client reaches this server, for the URLs in answers.

URLs are absolute, though PS3.18 allows relative ones: dicomweb-client asks for them as they stand, and
viewers do not agree on what they are relative to. A reverse proxy that ends TLS, or gives the server another
name, says so in `Forwarded` (RFC 7239) or `X-Forwarded-Proto` and `X-Forwarded-Host`. Whoever sends these
without a proxy only changes the URLs in the answer to himself.
"""

from __future__ import annotations

import re

from flask import request
from werkzeug.http import parse_options_header

_SCHEMES = ("http", "https")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def service_url(root: str) -> str:
    """The URL of the service with the path `root`, for the client that sent the current request."""
    forwarded = _forwarded()
    schemes = (forwarded.get("proto", ""), _first("X-Forwarded-Proto"), request.scheme)
    hosts = (forwarded.get("host", ""), _first("X-Forwarded-Host"), request.host)
    scheme = next((one.lower() for one in schemes if one.lower() in _SCHEMES), _SCHEMES[0])
    host = next((one for one in hosts if _HOST.fullmatch(one)), "localhost")
    return f"{scheme}://{host}{root}"


def _forwarded() -> dict[str, str]:
    """What the proxy that the client talks to says: of several, the first."""
    _, found = parse_options_header(f"forwarded;{_first('Forwarded')}")
    return found


def _first(header: str) -> str:
    return request.headers.get(header, "").partition(",")[0].strip()
