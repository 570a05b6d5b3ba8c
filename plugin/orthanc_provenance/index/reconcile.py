"""Keeps the index true to the archive: after a start, after a crash, and where something did not arrive.

Research is closed until the archive's change log has been read from the last checkpoint on; a study is closed
until every instance that the archive holds of it is in the index. All of this runs on one thread.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Engine, func, select

from ..errors import ArchiveUnavailable, IndexUnavailable, NotStored, Unreadable
from ..model import Assessment
from .ancestry import Ancestry
from .archive import Archive, Description
from .pending import Pending
from .record import INSTANCE_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, Record
from .schema import checkpoint, facts, instances, query, series, studies
from .writer import Fact, Put, Remove, Settle, Writer

log = logging.getLogger(__name__)

CATCHING_UP = "the index is catching up with the archive"
_PAGE = 1000
_OVERDUE_SECONDS = 5.0

# Assesses bytes that lie in the archive: a record, or the reason for which none could be made.
Assess = Callable[[bytes], Record | str]


class Reconciler:
    """The steps that keep index and archive together; `host` calls `step` from a thread of its own.

    Every step may raise IndexUnavailable, after which it is simply called again later.
    """

    def __init__(
        self, engine: Engine, writer: Writer, pending: Pending, archive: Archive, assess: Assess
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._pending = pending
        self._archive = archive
        self._assess = assess
        self._lock = threading.Lock()
        self._queued: set[str] = set()
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._deleted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._gone: list[str] = []
        self._assess_first = 0
        self._ancestry = Ancestry(engine, writer, pending, self._read_and_assess)
        self._unvisited = 0
        self._walk_everything = False
        self._candidate: tuple[int, float] | None = None
        self._closed_because = CATCHING_UP

    @property
    def closed_because(self) -> str:
        """Empty while research may be open, else the reason why not."""
        return CATCHING_UP if self._writer.lost.is_set() else self._closed_because

    @property
    def knows_all(self) -> bool:
        """Whether every instance of the archive is in the index, or known to be on its way there."""
        return not self.closed_because and not self._walk_everything

    def want(self, instance: str) -> None:
        """Assess this stored instance from the archive; called by the host's callbacks."""
        with self._lock:
            if instance in self._queued:
                return
            self._queued.add(instance)
        self._wanted.put(instance)

    def deleted(self, instance: str) -> None:
        """The archive reports that this instance was deleted; called by the host's callbacks."""
        self._deleted.put(instance)

    def step(self) -> None:
        """Do what is due now."""
        if self._writer.lost.is_set():
            self._closed_because = CATCHING_UP
        if self._writer.failure:
            return
        if self._closed_because:
            self._writer.lost.clear()
            self.catch_up()
        self._take_deleted()
        self._assess_wanted()
        self._remove_deleted()
        self._resolve_overdue()
        self._settle()
        self._walk()
        self._advance_checkpoint()

    def catch_up(self) -> None:
        """Close what changed in the archive since the last checkpoint, then open research.

        Where the change log cannot tell (it was cleared, or the number of instances differs), every study is
        closed until it has been compared with the archive.
        """
        since, last = self._checkpoint(), self._archive.last_change()
        changed = self._changed_since(since) if since <= last else None
        indexed = self._count() + len((changed or set()) - self._known(changed or set()))
        if changed is None or self._archive.count() != indexed:
            log.warning("every study of the archive is compared with the index before it is released")
            self._writer.submit(Settle(None, settled=False))
            self._walk_everything, self._unvisited = True, 0
        touched = set()
        for instance in changed or ():
            try:
                touched.add(self._archive.study_of(instance))
            except NotStored:
                continue
            self.want(instance)
        if touched:
            self._writer.submit(Settle(tuple(touched), settled=False))
        if not self._writer.flush():
            raise IndexUnavailable(self._writer.failure or "the index took too long to write")
        self._closed_because = ""
        log.info("the index has caught up: %d instances to assess", len(changed or ()))

    def _changed_since(self, since: int) -> set[str] | None:
        """The instances stored after change `since`; None where the index is empty and the archive is not."""
        if not self._count() and self._archive.count():
            return None
        changed: set[str] = set()
        while True:
            page = self._archive.changes(since, _PAGE)
            changed.update(page.stored)
            if page.done:
                return changed
            since = page.last

    def _assess_wanted(self) -> None:
        for _ in range(200):
            try:
                instance = self._wanted.get_nowait()
            except queue.Empty:
                return
            with self._lock:
                # From here on it may be wanted anew: it may be replaced while it is read.
                self._queued.discard(instance)
            try:
                self._assess_stored(instance)
            except (ArchiveUnavailable, IndexUnavailable):
                self.want(instance)
                self._assess_first = self._wanted.qsize()
                raise
            self._assess_first -= 1

    def _assess_stored(self, instance: str) -> None:
        """Write the record of an instance as it lies in the archive, with the lineage that Orthanc knows."""
        number = self._pending.reading(instance)
        try:
            described = self._archive.describe(instance)
            found = self._read_and_assess(instance)
        except NotStored:
            self._pending.absent([instance])
            self._writer.submit(Remove((instance,)))
            self._ancestry.vanished(instance)
            return
        if isinstance(found, str):
            log.error("instance %s could not be assessed and stays out of research: %s", instance, found)
            record = _failed_record(described, found)
        else:
            record = replace(found, identifiers=described.identifiers)
        self._writer.submit(Put(self._ancestry.inherited(record, described), number))

    def _read_and_assess(self, instance: str) -> Record | str:
        """The record of a stored instance, or why there is none. Raises NotStored."""
        try:
            return self._assess(self._archive.read(instance))
        except Unreadable as problem:
            return str(problem)

    def _take_deleted(self) -> None:
        """Take what was deleted up to now, and note how much was stored before that and is not assessed yet.

        A job stores its copies and then deletes their sources: the rows of these go once the copies have
        inherited from them.
        """
        if not self._gone:
            while not self._deleted.empty():
                self._gone.append(self._deleted.get_nowait())
            self._assess_first = self._wanted.qsize()

    def _remove_deleted(self) -> None:
        if not self._gone or self._assess_first > 0:
            return
        # An instance may have been stored again since.
        gone = [instance for instance in self._gone if not self._archive.holds(instance)]
        self._gone = []
        if gone:
            self._writer.submit(Remove(tuple(gone)))
            self._pending.absent(gone)

    def _resolve_overdue(self) -> None:
        """Look up what was announced but not stored, or stored but not written."""
        overdue = self._pending.overdue(_OVERDUE_SECONDS)
        self._pending.postpone(overdue)
        for instance in overdue:
            if self._archive.holds(instance):
                self.want(instance)
            else:
                self._pending.absent([instance])

    def _settle(self) -> None:
        """Release the studies of which the index holds every instance; assess what it lacks."""
        if not self._wanted.empty():
            return
        columns = select(studies.c.id, studies.c.StudyInstanceUID)
        unsettled = query(self._engine, columns.where(~studies.c.settled).limit(_PAGE))
        complete = []
        for row in unsettled:
            # Whoever asks by UID gets all studies that share it: they open together.
            alike = {row.id, *self._archive.studies_alike(row.StudyInstanceUID)}
            if all(self._is_complete(study) for study in alike):
                complete.append(row.id)
        if complete:
            self._writer.submit(Settle(tuple(complete), settled=True))
        if unsettled:
            self._writer.flush()

    def _is_complete(self, study: str) -> bool:
        statement = select(instances.c.id).join(series).where(series.c.study == study)
        before = {row.id for row in query(self._engine, statement)}
        try:
            held = set(self._archive.instances_of(study))
        except NotStored:
            held = set()
        coming = self._pending.instances()
        after = {row.id for row in query(self._engine, statement)}
        # Rows before and after the archive: what is stored meanwhile is neither gone nor missing.
        gone = before - held - coming
        missing = held - after - coming
        if gone and not self._wanted.empty():
            # A copy that was just stored may need their rows, see `_take_deleted`.
            return False
        if gone:
            self._writer.submit(Remove(tuple(gone)))
        for instance in missing:
            self.want(instance)
        return not missing

    def _walk(self) -> None:
        """Visit one more page of the archive's studies, where all must be compared."""
        if not self._walk_everything or not self._wanted.empty():
            return
        page = self._archive.studies(self._unvisited, 100)
        for study in page:
            self._is_complete(study)
        self._unvisited += len(page)
        if len(page) < 100:
            self._walk_everything = False
            log.info("all studies of the archive were compared with the index")

    def _advance_checkpoint(self) -> None:
        """Remember how far the change log is in the index, once all that came before has arrived."""
        if self._walk_everything or not self._wanted.empty():
            return
        if self._candidate is None:
            self._candidate = (self._archive.last_change(), time.monotonic())
            return
        last, at = self._candidate
        # Announced before it was stored, hence before its change was logged.
        if self._pending.oldest() > at:
            self._candidate = None
            if last != self._checkpoint():
                self._writer.submit(Fact(checkpoint, str(last)))

    def _checkpoint(self) -> int:
        rows = query(self._engine, select(facts.c.value).where(facts.c.name == checkpoint))
        return int(rows[0].value) if rows else 0

    def _count(self) -> int:
        return int(query(self._engine, select(func.count()).select_from(instances))[0][0])

    def _known(self, some: set[str]) -> set[str]:
        known: set[str] = set()
        wanted = list(some)
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            known.update(
                row.id for row in query(self._engine, select(instances.c.id).where(instances.c.id.in_(page)))
            )
        return known


def _failed_record(described: Description, reason: str) -> Record:
    def pick(keys: dict[str, int]) -> dict[str, str]:
        return {keyword: described.attributes.get(keyword, "") for keyword in keys}

    return Record(
        identifiers=described.identifiers,
        study=pick(STUDY_ATTRIBUTES),
        series=pick(SERIES_ATTRIBUTES),
        instance=pick(INSTANCE_ATTRIBUTES),
        assessment=Assessment.failed(reason),
    )
