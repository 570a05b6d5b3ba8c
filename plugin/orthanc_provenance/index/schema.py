"""The tables of the index and how its database is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Engine,
    Executable,
    ForeignKey,
    Index,
    MetaData,
    Row,
    String,
    Table,
    create_engine,
    event,
)
from sqlalchemy.exc import SQLAlchemyError

from ..errors import IndexUnavailable

metadata = MetaData()

# `settled`: every instance that Orthanc holds of the study is in the index; until then nothing of it leaves.
# `mirrored`: Orthanc's own metadata and labels say what the index says.
studies = Table(
    "studies",
    metadata,
    Column("id", String(44), primary_key=True),
    Column("settled", Boolean, nullable=False, index=True),
    Column("mirrored", Boolean, nullable=False, index=True),
    Column("StudyInstanceUID", String, nullable=False, index=True),
    Column("PatientID", String, nullable=False, index=True),
    Column("PatientName", String, nullable=False),
    Column("name_key", String, nullable=False, index=True),
    Column("PatientBirthDate", String, nullable=False),
    Column("PatientSex", String, nullable=False),
    Column("StudyDate", String, nullable=False, index=True),
    Column("StudyTime", String, nullable=False),
    Column("AccessionNumber", String, nullable=False, index=True),
    Column("ReferringPhysicianName", String, nullable=False),
    Column("StudyDescription", String, nullable=False),
    Column("StudyID", String, nullable=False),
)
series = Table(
    "series",
    metadata,
    Column("id", String(44), primary_key=True),
    Column("study", ForeignKey("studies.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("SeriesInstanceUID", String, nullable=False, index=True),
    Column("Modality", String, nullable=False),
    Column("SeriesNumber", String, nullable=False),
    Column("SeriesDescription", String, nullable=False),
)
instances = Table(
    "instances",
    metadata,
    Column("id", String(44), primary_key=True),
    Column("series", ForeignKey("series.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("SOPInstanceUID", String, nullable=False, index=True),
    Column("SOPClassUID", String, nullable=False),
    Column("InstanceNumber", String, nullable=False),
    Column("SyntheticData", String, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("state", String(20), nullable=False),
    Column("identity_removed", Boolean, nullable=False),
    Column("defaced", Boolean, nullable=False),
    Column("labelled", Boolean, nullable=False),
    Column("structured", Boolean, nullable=False),
    Column("modifiers", JSON, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("reason", String, nullable=False),
    Column("catalogue", String, nullable=False),
    Column("pixel_digest", String, nullable=False, index=True),
    Column("stamped", Boolean, nullable=False),
    Column("source", String(44), nullable=False),
    Column("mirrored", Boolean, nullable=False),
    Index("instances_by_series_state", "series", "state"),
    Index("instances_by_synthetic_data", "SyntheticData"),
)
verdicts = Table(
    "verdicts",
    metadata,
    # The series comes first in the key: every question starts from series, and a route holds most of them.
    Column("series", ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    Column("route", String(32), primary_key=True),
    Column("verdict", String(8), nullable=False),
    Column("reasons", JSON, nullable=False),
)
facts = Table(
    "facts",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", String, nullable=False),
)
checkpoint = "last-change"
policy_fingerprint = "policy"
schema_version = "schema"
SCHEMA = "1"
_TRIAL_LENGTH = 1 << 18


def open_engine(url: str, folder: Path) -> Engine:
    """The engine for `url`, by default SQLite in `folder`; nothing is read yet.

    SQLite runs with a write-ahead log, so that what was committed survives the end of the process.
    """
    if not url:
        url = f"sqlite:///{folder / 'provenance.db'}"
    engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
    return engine


def create_tables(engine: Engine) -> None:
    """Make what is missing. Raises IndexUnavailable where the database is unreachable, full or corrupt."""
    try:
        metadata.create_all(engine)
        _check(engine)
        with engine.begin() as connection:
            row = connection.execute(facts.select().where(facts.c.name == schema_version)).first()
            if row is None:
                connection.execute(facts.insert().values(name=schema_version, value=SCHEMA))
            elif row.value != SCHEMA:
                raise IndexUnavailable(
                    f"the index {engine.url.render_as_string()} has schema {row.value}, this version needs "
                    f"{SCHEMA}: move the file away and start again, it is rebuilt from the archive"
                )
    except SQLAlchemyError as problem:
        raise unavailable(engine, problem) from problem


def _check(engine: Engine) -> None:
    """Raises IndexUnavailable where the database is damaged, SQLAlchemyError where it takes no more.

    SQLite notices damage only where it happens to read. What is written and removed again is about as much as
    a batch of the writer: on a disk that is nearly full, a smaller trial would succeed and a batch fail.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise unavailable(engine, RuntimeError("database disk image is malformed"))
    trial = facts.c.name == "trial"
    with engine.begin() as connection:
        connection.execute(facts.delete().where(trial))
        connection.execute(facts.insert().values(name="trial", value="0" * _TRIAL_LENGTH))
    with engine.begin() as connection:
        connection.execute(facts.delete().where(trial))


def query(engine: Engine, statement: Executable) -> list[Row[Any]]:
    """The rows that `statement` finds, in a transaction of its own. Raises IndexUnavailable."""
    try:
        with engine.connect() as connection:
            return list(connection.execute(statement))
    except SQLAlchemyError as problem:
        raise unavailable(engine, problem) from problem


def unavailable(engine: Engine, problem: BaseException) -> IndexUnavailable:
    """The error that says in one line what is wrong with the index and what to do."""
    cause = str(getattr(problem, "orig", None) or problem).splitlines()[0]
    return IndexUnavailable(
        f"the index {engine.url.render_as_string()} cannot be used ({cause}): storing goes on, research is "
        "closed; free disk space or repair the file; a corrupt index may be moved away while Orthanc is "
        "stopped, it is rebuilt from the archive"
    )


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.execute("PRAGMA case_sensitive_like=ON")
    cursor.close()
