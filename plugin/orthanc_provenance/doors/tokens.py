"""Access tokens: what a researcher shows instead of a password where Orthanc's own users are not asked.

A token opens one route until it expires or is revoked. It is shown once, when it is made; the index keeps a
digest. A plain SHA-256 is enough of one: there is nothing to guess in 256 random bits, as there is in a
password. Nothing here is remembered between two questions, so that a revoked token has ended at once, on
every node and whoever revoked it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from ..config import ROUTE_NAME
from ..errors import TokenError
from ..index.schema import query, unavailable
from ..index.schema import tokens as table

PREFIX = "prov-"
"""What every token begins with, by which one is told from the tokens of others."""

DEFAULT_DAYS = 90
MAX_DAYS = 3660
MAX_NAME = 64
MAX_LISTED = 1000
_FORM = re.compile(r"prov-([0-9a-f]{12})-([A-Za-z0-9_-]{43})")
_DAY = 86400
_NOBODY = "0" * 64


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token. Times are seconds since 1970 (UTC); `revoked` is 0 for one that is not."""

    id: str
    name: str
    route: str
    made_by: str
    created: int
    expires: int
    revoked: int

    def is_valid(self, now: float) -> bool:
        """Whether the token opens its route at the time `now`."""
        return not self.revoked and now < self.expires


class Tokens:
    """The tokens in the index behind `engine`. Every method raises IndexUnavailable where it fails."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def make(self, name: str, route: str, days: int, made_by: str) -> tuple[str, Token]:
        """A new token for `route`, valid for `days`: its text, which nobody can tell again, and the rest.

        Raises TokenError for a name, a route or a number of days that it cannot have.
        """
        name = name.strip()
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise TokenError(f"the name of a token must have 1 to {MAX_NAME} printable characters")
        if not ROUTE_NAME.fullmatch(route):
            raise TokenError("the route of a token must be the name of one, such as research")
        if not 0 < days <= MAX_DAYS:
            raise TokenError(f"a token must be valid for 1 to {MAX_DAYS} days")
        now = int(self._clock())
        identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        made = Token(identifier, name, route, made_by, now, now + days * _DAY, 0)
        values = {field: getattr(made, field) for field in Token.__slots__}
        self._write(insert(table).values(digest=_digest(secret), **values))
        return f"{PREFIX}{identifier}-{secret}", made

    def find(self, text: str) -> Token | None:
        """The valid token with this text; None for any other text."""
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        row = next(iter(query(self._engine, select(table).where(table.c.id == form[1]))), None)
        # Compared even where there is no such token, so that the time tells nothing.
        same = hmac.compare_digest(_digest(form[2]), row.digest if row is not None else _NOBODY)
        found = _token(row) if row is not None else None
        return found if same and found is not None and found.is_valid(self._clock()) else None

    def listed(self) -> list[Token]:
        """The latest `MAX_LISTED` tokens, newest first, expired and revoked ones among them."""
        newest = select(table).order_by(table.c.created.desc(), table.c.id).limit(MAX_LISTED)
        return [_token(row) for row in query(self._engine, newest)]

    def revoke(self, identifier: str) -> Token | None:
        """End a token now, if it has not been ended before; None where there is none with this identifier."""
        this = table.c.id == identifier
        self._write(update(table).where(this, table.c.revoked == 0).values(revoked=int(self._clock())))
        return next((_token(row) for row in query(self._engine, select(table).where(this))), None)

    def describe(self, token: Token) -> dict[str, Any]:
        """A token as JSON: times as in ISO 8601, `state` is valid, expired or revoked."""
        now = self._clock()
        state = "revoked" if token.revoked else "valid" if token.is_valid(now) else "expired"
        return {
            "id": token.id,
            "name": token.name,
            "route": token.route,
            "made_by": token.made_by,
            "created": _iso(token.created),
            "expires": _iso(token.expires),
            "revoked": _iso(token.revoked) if token.revoked else None,
            "state": state,
        }

    def _write(self, statement: Any) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(statement)
        except SQLAlchemyError as problem:
            raise unavailable(self._engine, problem) from problem


def _token(row: Any) -> Token:
    return Token(**{field: row._mapping[field] for field in Token.__slots__})


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def _iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
