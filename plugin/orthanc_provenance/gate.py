"""The one place that says what may leave: every door asks here, and only gets what its route releases.

Closed is the default: an index that fails or is still catching up, a study that is not completely indexed,
and an instance that is just arriving do not exist for research (DESIGN section 7).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine

from .config import GROUP, Route
from .errors import IndexUnavailable
from .index.pending import Pending
from .index.query import Query, Released
from .index.search import Found, Search
from .index.totals import Totals

ReadSome = Callable[[list[str]], Generator[bytes | None, None, None]]

_BATCH = 16
_BATCH_BYTES = 8 << 20
_FRESH_SECONDS = 1.0


class Taken(NamedTuple):
    """What was read of an instance that may leave, and its row; None and {} where it may not leave any more.

    `announcements` and `decided` (`time.monotonic`) tell when that was decided.
    """

    released: Released
    data: bytes | None
    row: dict[str, Any]
    announcements: int
    decided: float


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: a user that the host or a trusted proxy has authenticated, or the holder of a token.

    `user` is the name of the user or of the token, "" for nobody; `groups` are those that the proxy names.
    `route` is the one route that the token opens, and None for whoever asks without one.
    """

    user: str = ""
    groups: frozenset[str] = frozenset()
    route: str | None = None

    def is_among(self, entries: Collection[str]) -> bool:
        """Whether these names of users, and `group:NAME` for groups, hold this one; never that of a token."""
        if not self.user or self.route is not None:
            return False
        named = self.user in entries and not self.user.startswith(GROUP)
        return named or any(f"{GROUP}{group}" in entries for group in self.groups)


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
        if requester.route is not None:
            return bool(requester.user) and requester.route == route.name
        return requester.is_among(route.users)

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

    def find(self, query: Query) -> list[Found]:
        """What matches; see `Search.find`."""
        self._gate.check_open()
        # What is on its way is read before the index: what arrives in between is either not in its answer
        # yet, or in it with its verdict.
        closed, held = self._pending.closed_studies(), self._pending.held()
        return self._search.find(query, closed, held)

    def search(self, query: Query) -> tuple[list[Found], int | None]:
        """A page of what matches, and one match more where there are more, with the number of all matches.

        The number is None where it would take a look at too many to tell.
        """
        self._gate.check_open()
        closed, held = self._pending.closed_studies(), self._pending.held()
        return self._search.search(query, closed, held)

    def totals(self, query: Query) -> Totals:
        """What all studies that match come to; see `Search.totals`."""
        self._gate.check_open()
        closed, held = self._pending.closed_studies(), self._pending.held()
        return self._search.totals(query, closed, held)

    def released(self, study: str, series: str = "", sop: str = "") -> list[Released]:
        """The instances of a study, series or SOP Instance UID that may leave; [] where nothing may."""
        self._gate.check_open()
        closed, held = self._pending.closed_studies(), self._pending.held()
        return self._search.released(closed, held, study, series, sop)

    def read(self, released: Released, read: Callable[[str], bytes]) -> tuple[bytes, dict[str, Any]] | None:
        """The bytes of one instance by `read`, with its row; None where it may not leave (any more)."""
        for taken in self.read_all((released,), lambda instances: (read(one) for one in instances)):
            if taken.data is not None:
                return taken.data, taken.row
        return None

    def read_all(self, found: Iterable[Released], read: ReadSome) -> Generator[Taken, None, None]:
        """What may leave of `found`, in its order: its bytes by `read`, and its row.

        `read` gives the bytes of instances in their order, None for one that is stored no more.

        Asked before and after the bytes are read, because an object may be replaced at any moment: what was
        read is then neither the object of the first answer nor of the second unless both release it. After
        the first, for which somebody waits, some are read at a time, so that they share their questions to
        the index. Whoever hands one out later asks `may_leave` again.
        """
        waiting, amount = deque(found), 1
        while waiting:
            batch = [waiting.popleft() for _ in range(min(amount, len(waiting)))]
            read_ones, left = self._read(batch, read)
            # What the batch has no room for is asked for anew.
            waiting.extendleft(reversed(left))
            announcements, decided = self._pending.announcements, time.monotonic()
            rows = self._search.assessed(self._free([one for one, data in read_ones if data is not None]))
            # Asked again: what is announced while the index answers must count.
            after = frozenset(self._free([one for one, _ in read_ones]))
            amount = _BATCH
            while read_ones:
                one, data = read_ones.pop(0)
                row = rows.get(one.instance) if one.instance in after else None
                yield Taken(one, None if row is None else data, row or {}, announcements, decided)
                # What was given out must not wait in memory while the next is read.
                del data

    def may_leave(self, taken: Taken) -> bool:
        """Whether what was read may leave still: a client may take its time, and the answer with it."""
        if not self._free([taken.released]):
            return False
        # Verdicts change by what arrives; by anything else they may be a moment old.
        unchanged = taken.announcements == self._pending.announcements
        if unchanged and time.monotonic() - taken.decided < _FRESH_SECONDS:
            return True
        return taken.released.instance in self._search.visible([taken.released.instance])

    def _read(
        self, batch: list[Released], read: ReadSome
    ) -> tuple[list[tuple[Released, bytes | None]], list[Released]]:
        """The bytes of `batch`, None of what may not leave now, and the rest of it once there are enough."""
        before = self._search.visible(self._free(batch))
        taken: list[tuple[Released, bytes | None]] = []
        size = 0
        with closing(read([one.instance for one in batch if one.instance in before])) as reading:
            for number, one in enumerate(batch, 1):
                if one.instance not in before:
                    taken.append((one, None))
                    continue
                data = next(reading)
                if data is not None:
                    taken.append((one, data))
                    size += len(data)
                if size >= _BATCH_BYTES:
                    return taken, batch[number:]
                del data
        return taken, []

    def _free(self, batch: Collection[Released]) -> list[str]:
        """The instances of which nothing is on its way."""
        self._gate.check_open()
        return [one.instance for one in batch if not self._pending.holds(one.instance, one.study_uid)]
