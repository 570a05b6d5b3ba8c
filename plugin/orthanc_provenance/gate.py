"""The one place that says what may leave: every door asks here, and only gets what its route releases.

Closed is the default: an index that fails or is still catching up, a study that is not completely indexed,
and an instance that is just arriving do not exist for research (DESIGN section 7).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from .config import Route
from .errors import IndexUnavailable
from .index.pending import Pending
from .index.search import Query, Released, Search


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: a user name that the host has authenticated, or "" for nobody."""

    user: str = ""


class Gate:
    """Opens a view on the index for a requester and a route.

    `closed_because` gives "" while research is open, else the reason for which all of it is closed.
    """

    def __init__(self, engine: Engine, pending: Pending, closed_because: Callable[[], str]) -> None:
        self._engine = engine
        self._pending = pending
        self._closed_because = closed_because

    def admits(self, requester: Requester, route: Route) -> bool:
        """Whether `requester` may use `route` at all; nobody may not."""
        return bool(requester.user) and requester.user in route.users

    def view(self, route: Route) -> View:
        """What `route` releases now. Raises IndexUnavailable while research is closed."""
        self.check_open()
        return View(self, Search(self._engine, route.name), self._pending)

    def check_open(self) -> None:
        """Raises IndexUnavailable, with the reason, while research is closed."""
        reason = self._closed_because()
        if reason:
            raise IndexUnavailable(reason)


class View:
    """The archive as one route sees it. Every method raises IndexUnavailable once research closes."""

    def __init__(self, gate: Gate, search: Search, pending: Pending) -> None:
        self._gate = gate
        self._search = search
        self._pending = pending

    def find(self, query: Query) -> list[dict[str, Any]]:
        """The attributes of what matches; see `Search.find`."""
        self._gate.check_open()
        # What is on its way is read before the index: what arrives in between is either not in its answer
        # yet, or in it with its verdict.
        closed, held = self._pending.closed_studies(), self._pending.held()
        return self._search.find(query, closed, held)

    def released(self, study: str, series: str = "", sop: str = "") -> list[Released]:
        """The instances of a study, series or SOP Instance UID that may leave; [] where nothing may."""
        self._gate.check_open()
        closed, held = self._pending.closed_studies(), self._pending.held()
        return self._search.released(closed, held, study, series, sop)

    def read(self, released: Released, read: Callable[[str], bytes]) -> tuple[bytes, dict[str, Any]] | None:
        """The bytes of one instance by `read`, with its row; None where it may not leave (any more).

        Asked before and after the bytes are read, because an object may be replaced at any moment: what was
        read is then neither the object of the first answer nor of the second unless both release it.
        """
        if self._allowed(released) is None:
            return None
        data = read(released.instance)
        row = self._allowed(released)
        return None if row is None else (data, row)

    def _allowed(self, released: Released) -> dict[str, Any] | None:
        self._gate.check_open()
        if self._pending.holds(released.instance, released.study_uid):
            return None
        row = self._search.assessed(released.instance)
        # Asked again: what is announced while the index answers must count.
        return None if self._pending.holds(released.instance, released.study_uid) else row
