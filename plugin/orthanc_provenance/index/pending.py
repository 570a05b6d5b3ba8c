"""What is on its way into the index: closed to research until it has arrived there.

The callback of the host announces every instance before it is stored; the writer reports when its row is in.
In between nothing of it leaves, and where it speaks against its study, nothing of the study leaves. After a
crash `reconcile` does the same from Orthanc's own list of changes.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .record import Record

_FORGOTTEN_SECONDS = 300.0


class Announced(NamedTuple):
    """The record of an instance that was announced, the number of that, and whether it closes its study."""

    record: Record
    number: int
    closes_study: bool


@dataclass(slots=True)
class _Entry:
    """`number` is that of the latest announcement, `first` the time of the first that is not written yet.

    `under_way` of the announcements are not stored yet. `contested` where two of them were so at once: which
    one the archive keeps is then for the archive to say.
    """

    number: int
    study_uid: str
    closes_study: bool
    since: float
    first: float
    under_way: int = 0
    contested: bool = False


class Pending:
    """A thread-safe register of instances on their way, by Orthanc identifier.

    An instance may be announced again before the row of an earlier announcement is in: it stays closed until
    the row of its latest announcement, or of a later reading of the archive, is written.

    With `replaces` off the archive never replaces an instance, so an announced one that is in the index
    already is the same as before, and stays open.
    """

    def __init__(self, *, replaces: bool = True) -> None:
        self._replaces = replaces
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._announcements = 0
        self._entries: dict[str, _Entry] = {}
        self._closed: Counter[str] = Counter()
        self._by_thread: dict[int, Announced] = {}
        self._began: dict[int, float] = {}

    @property
    def replaces(self) -> bool:
        """Whether the archive replaces an instance that is sent again."""
        return self._replaces

    @property
    def announcements(self) -> int:
        """How many there have been: while that stays the same, nothing has arrived."""
        return self._announcements

    def begin(self, thread: int) -> None:
        """The host is about to store something on the native thread `thread`; call before all else."""
        with self._lock:
            self._by_thread.pop(thread, None)
            self._began[thread] = time.monotonic()

    def announce(self, record: Record, *, thread: int | None, closes_study: bool) -> None:
        """`record` is about to be stored by the native thread `thread`; call before the host stores it.

        With `thread` None the record is not to be written as it is: `stored` will not give it back.
        """
        instance, study_uid = record.identifiers.instance, record.study["StudyInstanceUID"]
        with self._lock:
            number, now = next(self._numbers), time.monotonic()
            self._announcements += 1
            earlier = self._end(instance)
            # What was announced before may be stored already, and still speaks against the study.
            closes_study = closes_study or (earlier is not None and earlier.closes_study)
            entry = _Entry(number, study_uid, closes_study, now, now, under_way=1)
            if earlier is not None:
                entry.first, entry.under_way = earlier.first, earlier.under_way + 1
                entry.contested = earlier.contested or earlier.under_way > 0 or not self._replaces
            self._entries[instance] = entry
            if closes_study:
                self._closed[study_uid] += 1
            if thread is not None:
                self._by_thread[thread] = Announced(record, number, closes_study)

    def stored(self, instance: str, *, thread: int) -> Announced | None:
        """`instance` was stored on `thread`: what was announced, or None where the archive has to be read.

        Either way the instance stays closed until `written`.
        """
        with self._lock:
            now = time.monotonic()
            began = self._began.pop(thread, now)
            announced = self._by_thread.pop(thread, None)
            entry = self._entries.get(instance)
            is_new = entry is None
            if entry is None:
                entry = self._entries[instance] = _Entry(0, "", False, now, began)
            is_other = announced is not None and announced.record.identifiers.instance != instance
            if announced is not None and (is_new or is_other):
                # It took so long that it was given up, or the archive names it otherwise: it still speaks.
                self._carry_over(announced, entry)
            if is_other:
                announced = None
            entry.since = now
            entry.under_way = max(0, entry.under_way - 1)
            if announced is None or entry.contested or announced.number != entry.number:
                entry.number = next(self._numbers)
                return None
        return announced

    def _carry_over(self, announced: Announced, entry: _Entry) -> None:
        if announced.closes_study and not entry.closes_study:
            entry.study_uid, entry.closes_study = announced.record.study["StudyInstanceUID"], True
            self._closed[entry.study_uid] += 1

    def reading(self, instance: str) -> int:
        """Call before the archive is read: the number of the announcement that the reading makes up for.

        What an archive holds that never replaces stays as it is, whatever is still under way.
        """
        with self._lock:
            entry = self._entries.get(instance)
            is_final = entry is not None and not (entry.under_way and self._replaces)
            return entry.number if entry is not None and is_final else 0

    def written(self, rows: Iterable[tuple[str, int]]) -> None:
        """Rows of these instances are in the index, for the announcements with these numbers."""
        with self._lock:
            for instance, number in rows:
                entry = self._entries.get(instance)
                if entry is not None and entry.number <= number:
                    self._end(instance)

    def absent(self, instances: Iterable[str]) -> None:
        """The archive holds no such instances; those under way stay closed."""
        with self._lock:
            for instance in instances:
                entry = self._entries.get(instance)
                if entry is not None and not entry.under_way:
                    self._end(instance)

    def overdue(self, seconds: float) -> list[str]:
        """The instances announced or stored more than `seconds` ago and not written yet."""
        before = time.monotonic() - seconds
        with self._lock:
            return [instance for instance, entry in self._entries.items() if entry.since < before]

    def postpone(self, instances: Iterable[str]) -> None:
        """These are looked up in the archive: do not report them again before their time has passed anew."""
        now = time.monotonic()
        with self._lock:
            for instance in instances:
                if instance in self._entries:
                    self._entries[instance].since = now
                    self._entries[instance].under_way = 0

    def oldest(self) -> float:
        """The time (`time.monotonic`) since which something is on its way; infinite where nothing is.

        A thread that began and never stored anything is forgotten after a while.
        """
        forgotten = time.monotonic() - _FORGOTTEN_SECONDS
        with self._lock:
            self._began = {thread: began for thread, began in self._began.items() if began > forgotten}
            entries = (entry.first for entry in self._entries.values())
            return min((*entries, *self._began.values()), default=float("inf"))

    def instances(self) -> set[str]:
        """The instances on their way."""
        with self._lock:
            return set(self._entries)

    def held(self) -> set[str]:
        """The instances of which nothing may leave now, whatever the index says."""
        return self.instances() if self._replaces else set()

    def closed_studies(self) -> set[str]:
        """The Study Instance UIDs of which nothing may leave now."""
        with self._lock:
            return set(self._closed)

    def holds(self, instance: str, study_uid: str) -> bool:
        """Whether this instance, or the whole study, is closed for now."""
        with self._lock:
            return (self._replaces and instance in self._entries) or study_uid in self._closed

    def _end(self, instance: str) -> _Entry | None:
        entry = self._entries.pop(instance, None)
        if entry is not None and entry.closes_study:
            self._closed[entry.study_uid] -= 1
            if not self._closed[entry.study_uid]:
                del self._closed[entry.study_uid]
        return entry
