"""Access tokens over REST, for administrators: made, listed and revoked (see `doors.tokens`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, UnsupportedMediaType

from ..config import Settings
from ..doors.requester import current_requester
from ..doors.tokens import DEFAULT_DAYS, Tokens
from ..errors import TokenError

MAX_BODY = 4096
_KEYS = frozenset(("name", "route", "days"))


def add_tokens(
    made: Blueprint, settings: Settings, tokens: Tokens, check_administrator: Callable[[], None]
) -> None:
    """Add the resources below `/tokens` to the API."""

    @made.get("/tokens")
    def list_tokens() -> Response:
        check_administrator()
        return _answer({"tokens": [tokens.describe(token) for token in tokens.listed()]})

    @made.post("/tokens")
    def make_token() -> Response:
        check_administrator()
        asked = _read_body()
        name, route = asked.get("name"), asked.get("route")
        days = asked.get("days", DEFAULT_DAYS)
        known = [each.name for each in settings.routes]
        if route not in known:
            raise BadRequest(f'"route" must be one of {", ".join(known)}')
        if not isinstance(name, str) or not isinstance(days, int) or isinstance(days, bool):
            raise BadRequest('"name" must be a text, and "days" a whole number')
        try:
            text, token = tokens.make(name, route, days, current_requester().user)
        except TokenError as problem:
            raise BadRequest(str(problem)) from problem
        return _answer({**tokens.describe(token), "token": text})

    @made.delete("/tokens/<token>")
    def revoke_token(token: str) -> Response:
        check_administrator()
        ended = tokens.revoke(token)
        if ended is None:
            raise NotFound("there is no token with this identifier")
        return _answer(tokens.describe(ended))


def _read_body() -> dict[str, Any]:
    """The JSON object in the body. Raises BadRequest and its kin.

    The media type is demanded because no page of another site can make a browser send it unasked.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("send a JSON object, with Content-Type: application/json")
    data = request.get_data()
    if len(data) > MAX_BODY:
        raise RequestEntityTooLarge(f"the body is longer than {MAX_BODY} bytes")
    try:
        asked = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise BadRequest("the body is no JSON") from problem
    if not isinstance(asked, dict) or not asked.keys() <= _KEYS:
        raise BadRequest(f"the body must be a JSON object with the keys {', '.join(sorted(_KEYS))}")
    return asked


def _answer(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), content_type="application/json")
