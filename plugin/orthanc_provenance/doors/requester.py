"""Who sent a request over HTTP."""

from __future__ import annotations

from flask import request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from ..gate import Requester

# The realm of Orthanc's own challenge, so that a browser asks only once.
_CHALLENGE = WWWAuthenticate("basic", {"realm": "Orthanc Secure Area"})


def current_requester() -> Requester:
    """Who sent the current request, as the host has authenticated. Raises Unauthorized for nobody."""
    user = request.environ.get("REMOTE_USER", "")
    if not user:
        raise Unauthorized("log in to use this resource", www_authenticate=_CHALLENGE)
    return Requester(user)
