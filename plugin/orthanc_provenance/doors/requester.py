"""Who sent a request over HTTP: in this order, by an access token, a trusted reverse proxy, or Orthanc.

- A token travels as `Authorization: Bearer prov-…`. While Orthanc checks users itself it refuses that header
  before any plugin sees the request, so that there it travels as `X-Provenance-Token: prov-…` beside the
  Basic credentials of a user of Orthanc. Whoever shows a token is its holder and nobody else; one that is
  unknown, expired or revoked makes its sender nobody. Bearer tokens of other kinds are no business of ours.
- From an address in "TrustedProxies" the requester is whom the proxy's headers name; without them, nobody.
- Else it is the user of Orthanc, where Orthanc has checked the password.

The proxy must overwrite these headers, not add to them: of a header that is sent twice, Orthanc shows plugins
the first only. Where both arrive as one, with a comma between, the requester is nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask import Flask, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from ..config import TOKEN_HEADER, TrustedProxies
from ..errors import IndexUnavailable
from ..gate import Requester
from .tokens import PREFIX, Token

MAX_USER = 256
MAX_GROUPS = 256
_NOBODY = Requester()
# The realm of Orthanc's own challenge, so that a browser asks only once.
_CHALLENGE = WWWAuthenticate("basic", {"realm": "Orthanc Secure Area"})


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its sender, for the lock, which also believes what only closes.

    `requester` is who it is believed to be, `user` the name in its Basic credentials, checked or not;
    `by_token` tells that a token was shown, a good one or not.
    """

    requester: Requester
    user: str
    by_token: bool


class Requesters:
    """Tells who sent a request. `find_token` gives the valid token with a text, and raises IndexUnavailable.

    Header names are lower case, as Orthanc gives them.
    """

    def __init__(self, proxies: TrustedProxies, find_token: Callable[[str], Token | None]) -> None:
        self._networks = tuple(ipaddress.ip_network(address) for address in proxies.addresses)
        self._user_header = proxies.user_header.lower()
        self._groups_header = proxies.groups_header.lower()
        self._find_token = find_token

    def identify(self, user: str, address: str, headers: Mapping[str, str]) -> Requester:
        """Who sent a request from `address`, where Orthanc has checked that it comes from `user` ("": none).

        Raises IndexUnavailable where a token cannot be looked up.
        """
        shown = _shown_token(headers)
        if shown:
            token = self._find_token(shown)
            return _NOBODY if token is None else Requester(token.name, route=token.route)
        if self._networks and self._trusts(address):
            return self._named_by_proxy(headers)
        return Requester(user)

    def claim(self, user: str, address: str, headers: Mapping[str, str]) -> Claim:
        """What the lock must know; `user` stands in the Basic credentials, whoever checked them."""
        try:
            requester = self.identify(user, address, headers)
        except IndexUnavailable:
            # The doors will find the same, and say so.
            requester = _NOBODY
        return Claim(requester, user, bool(_shown_token(headers)))

    def _trusts(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None)
        return any((mapped or peer) in network for network in self._networks)

    def _named_by_proxy(self, headers: Mapping[str, str]) -> Requester:
        user = headers.get(self._user_header, "").strip()
        groups = headers.get(self._groups_header, "").split(",", MAX_GROUPS)
        if not 0 < len(user) <= MAX_USER or "," in user or not user.isprintable() or len(groups) > MAX_GROUPS:
            return _NOBODY
        return Requester(user, frozenset(filter(None, (group.strip() for group in groups))))


def install(app: Flask, requesters: Requesters) -> None:
    """Let `requesters` tell who sent each request to `app`, before anything else looks at it."""

    def remember() -> None:
        g.requester = requesters.identify(
            request.environ.get("REMOTE_USER", ""),
            request.environ.get("REMOTE_ADDR", ""),
            {name.lower(): value for name, value in request.headers.items()},
        )

    app.before_request(remember)


def current_requester() -> Requester:
    """Who sent the current request. Raises Unauthorized for nobody."""
    requester: Requester = g.requester
    if not requester.user:
        raise Unauthorized("log in to use this resource", www_authenticate=_CHALLENGE)
    return requester


def _shown_token(headers: Mapping[str, str]) -> str:
    """The access token that a request shows, of whatever worth; "" where it shows none."""
    own = headers.get(TOKEN_HEADER.lower(), "").strip()
    if own:
        # Nothing else travels in this header: what is no token is a wrong one.
        return own
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    credentials = credentials.strip()
    return credentials if scheme.lower() == "bearer" and credentials.startswith(PREFIX) else ""
