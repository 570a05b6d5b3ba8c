"""What an instance that the archive itself made inherits, also once its source is deleted or replaced.

The archive names the source in metadata. A job may delete it as soon as the copy is stored, and the index
forgets it then: so the copy's own row, and the state that was mirrored into its metadata, are asked too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Engine, select

from ..errors import NotStored
from ..lineage import inherit
from ..model import Assessment, Origin
from .archive import Description
from .mirror import METADATA
from .pending import Pending
from .record import Record
from .rows import read_assessment
from .schema import instances, query
from .writer import Writer

LINEAGE_METADATA = ("AnonymizedFrom", "ModifiedFrom")
_REMEMBERED = 1000

# Reads and assesses a stored instance: a record, or why there is none. Raises NotStored.
Assess = Callable[[str], Record | str]


class Ancestry:
    """Completes records by what is known of their sources; used by one thread."""

    def __init__(self, engine: Engine, writer: Writer, pending: Pending, assess: Assess) -> None:
        self._engine = engine
        self._writer = writer
        self._pending = pending
        self._assess = assess
        self._vanished: deque[str] = deque(maxlen=_REMEMBERED)

    def vanished(self, instance: str) -> None:
        """This instance was deleted before it could be assessed: its copies stay out of research."""
        self._vanished.append(instance)

    def inherited(self, record: Record, described: Description) -> Record:
        """`record` with what the lineage in `described` makes of it. Raises IndexUnavailable."""
        for name in LINEAGE_METADATA:
            source = described.metadata.get(name)
            if source:
                return self._inherited(record, described, name, source)
        return record

    def _inherited(self, record: Record, described: Description, name: str, source: str) -> Record:
        assessment = record.assessment
        known = self._of_source(source)
        if known is not None:
            assessment = inherit(assessment, known, name)
        elif source in self._vanished:
            assessment = replace(assessment, reason="its source was deleted before anything was known of it")
        for earlier in self._of_copy(record, described, source, known is not None):
            assessment = inherit(assessment, earlier, name)
        synthetic = "YES" if assessment.origin.is_synthetic else record.synthetic_data
        return replace(record, assessment=assessment, synthetic_data=synthetic, source=source)

    def _of_source(self, source: str) -> Assessment | None:
        """What is known of `source` itself; None where nothing is."""
        statement = select(instances).where(instances.c.id == source)
        is_coming = source in self._pending.instances()
        rows = query(self._engine, statement)
        if not rows and is_coming:
            # Its row is queued.
            self._writer.flush()
            rows = query(self._engine, statement)
        if rows:
            return read_assessment(dict(rows[0]._mapping))
        try:
            found = self._assess(source)
        except NotStored:
            return None
        return None if isinstance(found, str) else found.assessment

    def _of_copy(
        self, record: Record, described: Description, source: str, source_is_known: bool
    ) -> list[Assessment]:
        """What was known of the copy before: the source may be gone, or be another object by now."""
        of_copy = (instances.c.id == record.identifiers.instance, instances.c.source == source)
        rows = [dict(row._mapping) for row in query(self._engine, select(instances).where(*of_copy))]
        # A new catalogue may think otherwise, and then only of what it can look at.
        found = [
            read_assessment(row)
            for row in rows
            if not source_is_known or row["catalogue"] == record.catalogue
        ]
        mirrored = described.metadata.get(str(METADATA), "")
        if not found and not source_is_known and mirrored in frozenset(Origin):
            claimed = Assessment(Origin(mirrored))
            # Whoever may write metadata can write this: believed only where it closes.
            found = [claimed] if claimed.origin.may_be_labelled else []
        return found
