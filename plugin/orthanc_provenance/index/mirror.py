"""Mirrors the index into Orthanc's own metadata and labels, so that other plugins and viewers see the state.

Done when a study has been quiet for a while, and slowly while instances arrive: every such write costs the
archive a transaction.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable

from sqlalchemy import Engine, func, select

from ..errors import NotStored
from ..model import State
from .archive import Archive
from .schema import instances, query, series, studies, verdicts
from .writer import Mirrored, Writer

METADATA = 9901
LABEL_PREFIX = "provenance-"
_LABELS = frozenset(LABEL_PREFIX + state.value for state in State)
_QUIET_SECONDS = 5.0
_AT_ONCE = 20


class Mirror:
    """Writes state metadata on instances and studies, and state labels on studies and series."""

    def __init__(self, engine: Engine, writer: Writer, archive: Archive) -> None:
        self._engine = engine
        self._writer = writer
        self._archive = archive
        self._lock = threading.Lock()
        self._touched: dict[str, float] = {}

    def touched(self, studies_touched: Iterable[str]) -> None:
        """Instances of these studies were written just now."""
        now = time.monotonic()
        with self._lock:
            self._touched.update(dict.fromkeys(studies_touched, now))

    def waiting(self) -> int:
        """How many studies are still to be mirrored. Raises IndexUnavailable."""
        statement = select(func.count()).select_from(studies).where(~studies.c.mirrored)
        return int(query(self._engine, statement)[0][0])

    def step(self) -> None:
        """Mirror a few instances of a study that has been quiet. Raises IndexUnavailable."""
        quiet_since = time.monotonic() - _QUIET_SECONDS
        with self._lock:
            self._touched = {study: at for study, at in self._touched.items() if at > quiet_since}
            busy = set(self._touched)
        statement = select(studies.c.id).where(~studies.c.mirrored, studies.c.id.not_in(busy)).limit(1)
        for row in query(self._engine, statement):
            try:
                self._mirror(row.id, _AT_ONCE if busy else _AT_ONCE * 10)
            except NotStored:
                # Deleted meanwhile: the reconciler removes it from the index.
                self._writer.submit(Mirrored(row.id, ()))

    def _mirror(self, study: str, limit: int) -> None:
        inside = select(instances.c.id, instances.c.state).join(series).where(series.c.study == study)
        some = query(self._engine, inside.where(~instances.c.mirrored).limit(limit))
        for row in some:
            self._archive.set_metadata("instances", row.id, METADATA, row.state)
        done = tuple(row.id for row in some)
        if len(done) < limit:
            self._mirror_series(study)
            self._writer.submit(Mirrored(study, done))
        else:
            self._writer.submit(Mirrored("", done))
        self._writer.flush()

    def _mirror_series(self, study: str) -> None:
        statement = (
            select(instances.c.series, instances.c.state, func.count().label("number"))
            .join(series)
            .where(series.c.study == study)
            .group_by(instances.c.series, instances.c.state)
        )
        by_series: dict[str, dict[str, int]] = {}
        total: dict[str, int] = {}
        for row in query(self._engine, statement):
            by_series.setdefault(row.series, {})[row.state] = row.number
            total[row.state] = total.get(row.state, 0) + row.number
        for series_id, states in by_series.items():
            self._set_labels("series", series_id, states)
        self._set_labels("studies", study, total)
        told = {"states": total, "verdicts": self._verdicts(study)}
        self._archive.set_metadata("studies", study, METADATA, json.dumps(told, sort_keys=True))

    def _verdicts(self, study: str) -> dict[str, list[str]]:
        statement = select(verdicts.c.route, verdicts.c.verdict).join(series).where(series.c.study == study)
        found: dict[str, set[str]] = {}
        for row in query(self._engine, statement.distinct()):
            found.setdefault(row.route, set()).add(row.verdict)
        return {route: sorted(some) for route, some in found.items()}

    def _set_labels(self, level: str, resource: str, states: Iterable[str]) -> None:
        wanted = {LABEL_PREFIX + state for state in states}
        there = _LABELS & set(self._archive.labels(level, resource))
        for label in sorted(wanted ^ there):
            self._archive.set_label(level, resource, label, present=label in wanted)
