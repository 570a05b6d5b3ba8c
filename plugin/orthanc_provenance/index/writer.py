"""The one thread that writes the index: a bounded queue in, batches of one transaction each out.

It never calls Orthanc, so that a callback of the host may always hand something over. When a write fails, the
index is unavailable, research is closed, and the batch is given up: what is missing in the index is invisible
to research and found again by `reconcile`.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, Engine, delete, event, insert, select, update
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import SQLAlchemyError

from ..config import Route
from ..errors import IndexUnavailable
from . import rows
from .record import Record
from .schema import create_tables, facts, instances, series, studies, unavailable

log = logging.getLogger(__name__)

_CAPACITY = 10_000
_BATCH = 200
_PARAMETERS = 500
_RETRY_SECONDS = 2.0
_BROKEN = frozenset(
    (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOTADB,
    )
)
_GATHER_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Put:
    """Write this record, in place of an earlier one of the same instance.

    `number` is that of the announcement in `Pending` which the record makes up for, 0 for none. A record that
    is `tentative` says what arrived at an archive that never replaces: it is written only where there is no
    row, because the archive may have kept what it had and told nobody.
    """

    record: Record
    number: int = 0
    tentative: bool = False


@dataclass(frozen=True, slots=True)
class Remove:
    """Forget these instances, by Orthanc identifier."""

    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """Mark these studies as completely indexed, or as not; None means every study."""

    studies: tuple[str, ...] | None
    settled: bool


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Orthanc's metadata and labels of this study, and of these instances in it, say what the index says."""

    study: str
    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """Remember a value under a name."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Barrier:
    """Call back when everything before it is written (`True`) or given up (`False`)."""

    done: Callable[[bool], None]


Operation = Put | Remove | Settle | Mirrored | Fact | Barrier


class Writer:
    """Writes operations in the order in which they come.

    `on_written` hears which instances are in, with the numbers of their `Put`, and which studies changed;
    `on_doubt` of which instances a tentative record was left out.

    `failure` is "" while the index works, else the line that says why it does not; each is logged once, until
    something could be written again. `lost` is set when operations were given up, until `reconcile` has made
    up for them.
    """

    def __init__(
        self,
        engine: Engine,
        routes: Iterable[Route],
        on_written: Callable[[list[tuple[str, int]], set[str]], None],
        on_doubt: Callable[[str], None] = lambda _instance: None,
    ) -> None:
        self._engine = engine
        self._routes = tuple(routes)
        self._on_written = on_written
        self._on_doubt = on_doubt
        self._queue: queue.Queue[Operation | None] = queue.Queue(_CAPACITY)
        self._thread = threading.Thread(target=self._run, name="provenance-index", daemon=True)
        self._retry_at = 0.0
        self._told: set[str] = set()
        event.listen(engine, "handle_error", self._notice)
        self.failure = "the index is not open yet"
        self.lost = threading.Event()

    def start(self) -> None:
        """Open the index and start writing; an index that cannot be opened is tried again until it can."""
        self._open()
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Write what is queued and end, within `timeout` seconds."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout)
        self._engine.dispose()

    def submit(self, operation: Operation) -> None:
        """Queue an operation without waiting; one that finds the queue full is given up, and noted."""
        try:
            self._queue.put_nowait(operation)
        except queue.Full:
            self._give_up([operation])

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until what was submitted before is written; False where it was given up or took too long."""
        done, results = threading.Event(), []

        def finish(written: bool) -> None:
            results.append(written)
            done.set()

        self.submit(Barrier(finish))
        return done.wait(timeout) and results == [True]

    def _run(self) -> None:
        ended = False
        try:
            while not ended:
                ended = self._step()
        finally:
            # Whatever ended this thread, nothing is written any more: closed until the next start.
            self.failure = "the index is written no more; restart Orthanc, its log says why"
            if not ended:
                log.critical("the index thread ended: research is closed until the next start", exc_info=True)

    def _step(self) -> bool:
        batch, ended = self._take()
        if self.failure and time.monotonic() >= self._retry_at:
            self._open()
        if self.failure:
            self._give_up(batch)
        elif batch:
            self._write(batch)
        return ended

    def _take(self) -> tuple[list[Operation], bool]:
        """What is queued, at most a batch; empty after a while without work, so that a failure is retried."""
        batch: list[Operation] = []
        try:
            operation = self._queue.get(timeout=_RETRY_SECONDS)
            if isinstance(operation, Put):
                # More are about to come: one transaction for them all costs the archive's threads less.
                time.sleep(_GATHER_SECONDS)
            while True:
                if operation is None:
                    return batch, True
                batch.append(operation)
                if len(batch) >= _BATCH:
                    return batch, False
                operation = self._queue.get_nowait()
        except queue.Empty:
            return batch, False

    def _open(self) -> None:
        # What idle connections have in memory says nothing about the file.
        self._engine.dispose()
        try:
            create_tables(self._engine)
            with self._engine.begin() as connection:
                rows.decide_all_if_policy_changed(connection, self._routes)
        except (IndexUnavailable, SQLAlchemyError) as problem:
            self._fail(problem)
        else:
            if self.failure:
                log.info("the index is open")
            self.failure = ""

    def _write(self, batch: list[Operation]) -> None:
        try:
            with self._engine.begin() as connection:
                doubtful = _doubtful(connection, batch)
                sound = [each for each in batch if not any(each is put for put in doubtful)]
                touched = apply(connection, sound)
                rows.decide(connection, touched, self._routes)
        except SQLAlchemyError as problem:
            self._fail(problem)
            self._give_up(batch)
            return
        puts = (item for item in sound if isinstance(item, Put))
        written = [(put.record.identifiers.instance, put.number) for put in puts]
        if written or touched:
            self._told.clear()
            self._on_written(written, touched)
        for put in doubtful:
            self._on_doubt(put.record.identifiers.instance)
        _answer(batch, written=True)

    def _fail(self, problem: Exception) -> None:
        if isinstance(problem, SQLAlchemyError):
            problem = unavailable(self._engine, problem)
        self.failure = str(problem)
        if self.failure not in self._told:
            self._told.add(self.failure)
            log.error("%s", problem)
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        self.lost.set()

    def _notice(self, context: ExceptionContext) -> None:
        """Some thread found the database broken: closed until it has been checked, whoever asks."""
        code = getattr(context.original_exception, "sqlite_errorcode", 0) & 0xFF
        if self.failure:
            return
        if code in _BROKEN or (context.is_disconnect and not context.is_pre_ping):
            self._fail(unavailable(self._engine, context.original_exception))

    def _give_up(self, batch: list[Operation]) -> None:
        if any(not isinstance(operation, Barrier) for operation in batch):
            self.lost.set()
        _answer(batch, written=False)


def _answer(batch: list[Operation], *, written: bool) -> None:
    for operation in batch:
        if isinstance(operation, Barrier):
            operation.done(written)


def _doubtful(connection: Connection, batch: Iterable[Operation]) -> list[Put]:
    """The tentative ones in `batch` of whose instances there is a row."""
    tentative = [operation for operation in batch if isinstance(operation, Put) and operation.tentative]
    if not tentative:
        return []
    wanted = [put.record.identifiers.instance for put in tentative]
    known = set(connection.execute(select(instances.c.id).where(instances.c.id.in_(wanted))).scalars())
    return [put for put in tentative if put.record.identifiers.instance in known]


def apply(connection: Connection, batch: Iterable[Operation]) -> set[str]:
    """Carry out `batch` in order; the identifiers of the studies whose contents changed."""
    touched: set[str] = set()
    for is_put, operations in groupby(batch, key=lambda operation: isinstance(operation, Put)):
        if is_put:
            records = [operation.record for operation in operations if isinstance(operation, Put)]
            rows.put(connection, records)
            touched.update(record.identifiers.study for record in records)
        else:
            touched |= _apply_others(connection, operations)
    return touched


def _apply_others(connection: Connection, batch: Iterable[Operation]) -> set[str]:
    touched: set[str] = set()
    for operation in batch:
        if isinstance(operation, Remove):
            for some in _chunks(operation.instances):
                touched |= _remove(connection, some)
        elif isinstance(operation, Settle) and operation.studies is None:
            connection.execute(update(studies).values(settled=operation.settled))
        elif isinstance(operation, Settle):
            for some in _chunks(operation.studies or ()):
                which = studies.c.id.in_(some)
                connection.execute(update(studies).where(which).values(settled=operation.settled))
        elif isinstance(operation, Mirrored):
            connection.execute(update(studies).where(studies.c.id == operation.study).values(mirrored=True))
            which = instances.c.id.in_(operation.instances)
            connection.execute(update(instances).where(which).values(mirrored=True))
        elif isinstance(operation, Fact):
            connection.execute(delete(facts).where(facts.c.name == operation.name))
            connection.execute(insert(facts).values(name=operation.name, value=operation.value))
    return touched


def _chunks(ids: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """`ids` in pieces that every database takes as parameters of one statement."""
    return (ids[start : start + _PARAMETERS] for start in range(0, len(ids), _PARAMETERS))


def _remove(connection: Connection, ids: tuple[str, ...]) -> set[str]:
    """Forget instances. What stays of their studies is compared with the archive before it leaves again.

    One of them may have been stored anew while it was on its way here.
    """
    parents = connection.execute(
        select(series.c.study, series.c.id)
        .join(instances, instances.c.series == series.c.id)
        .where(instances.c.id.in_(ids))
        .distinct()
    ).all()
    connection.execute(delete(instances).where(instances.c.id.in_(ids)))
    series_ids = {row.id for row in parents}
    # Studies that share a UID are decided as one: those that stay are decided anew without what goes.
    uids = select(studies.c.StudyInstanceUID).where(studies.c.id.in_({row.study for row in parents}))
    alike = select(studies.c.id).where(studies.c.StudyInstanceUID.in_(uids))
    touched = set(connection.execute(alike).scalars())
    left = select(instances.c.series).where(instances.c.series == series.c.id).exists()
    connection.execute(delete(series).where(series.c.id.in_(series_ids), ~left))
    left = select(series.c.study).where(series.c.study == studies.c.id).exists()
    connection.execute(delete(studies).where(studies.c.id.in_(touched), ~left))
    connection.execute(update(studies).where(studies.c.id.in_(touched)).values(settled=False))
    return touched
