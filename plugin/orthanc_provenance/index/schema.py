"""The tables of the index and how its database is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Executable,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
)
from sqlalchemy.exc import SQLAlchemyError

from ..errors import IndexUnavailable
from .record import INSTANCE_ATTRIBUTES, REQUEST_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES

metadata = MetaData()

# PostgreSQL would sort text by the rules of a language: ranges and prefixes need the order of the characters.
_TEXT = String().with_variant(String(collation="C"), "postgresql")


def _text(name: str, *, index: bool = False) -> Column[str]:
    return Column(name, _TEXT, nullable=False, index=index)


# `settled`: every instance that Orthanc holds of the study is in the index; until then nothing of it leaves.
# `mirrored`: Orthanc's own metadata and labels say what the index says.
# `header`: the attributes of patient and study in its first instance, see `record.write_header`.
studies = Table(
    "studies",
    metadata,
    Column("id", String(44), primary_key=True),
    Column("settled", Boolean, nullable=False, index=True),
    Column("mirrored", Boolean, nullable=False, index=True),
    _text("StudyInstanceUID"),
    _text("header"),
    Index("studies_by_uid", "StudyInstanceUID", "settled"),
)
# `header`: the attributes of patient and study in the first instance of the series. Those of the study may
# come from an instance that a route withholds.
series = Table(
    "series",
    metadata,
    Column("id", String(44), primary_key=True),
    Column("study", ForeignKey("studies.id", ondelete="CASCADE"), nullable=False),
    _text("header"),
    _text("SeriesInstanceUID", index=True),
    *(_text(keyword) for keyword in SERIES_ATTRIBUTES if keyword != "SeriesInstanceUID"),
    # All that a walk through the series of a study asks of those that it passes over.
    Index("series_by_study", "study", "SeriesInstanceUID", "id"),
)
# The items of Request Attributes Sequence (0040,0275) of a series, for matching.
requests = Table(
    "requests",
    metadata,
    Column("series", ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False),
    *(_text(keyword) for keyword in REQUEST_ATTRIBUTES),
)
# `generator`: the name of what made the pixels; `declaration`: the URI of its declaration; "" for none.
# `flawed`: not assessed, or it takes no stamp. `conflict`: it contradicts itself.
instances = Table(
    "instances",
    metadata,
    Column("id", String(44), primary_key=True),
    Column("series", ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    _text("SOPInstanceUID", index=True),
    *(_text(keyword) for keyword in INSTANCE_ATTRIBUTES if keyword != "SOPInstanceUID"),
    _text("SyntheticData"),
    Column("origin", String(16), nullable=False),
    Column("state", String(20), nullable=False),
    Column("identity_removed", Boolean, nullable=False),
    Column("defaced", Boolean, nullable=False),
    Column("labelled", Boolean, nullable=False),
    Column("structured", Boolean, nullable=False),
    Column("flawed", Boolean, nullable=False),
    Column("conflict", Boolean, nullable=False),
    _text("generator"),
    _text("declaration"),
    Column("modifiers", JSON, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("reason", String, nullable=False),
    Column("catalogue", String, nullable=False),
    Column("pixel_digest", String, nullable=False, index=True),
    Column("stamped", Boolean, nullable=False),
    Column("seal", String, nullable=False),
    Column("source", String(44), nullable=False),
    Column("mirrored", Boolean, nullable=False),
)
# All that verdicts and provenance filters ask of the instances of a series, so that they read no rows.
JUDGED = (
    *("state", "SyntheticData", "identity_removed", "defaced", "labelled", "structured", "flawed"),
    *("conflict", "generator", "declaration", "origin"),
)
Index("instances_by_series", instances.c.series, *(instances.c[name] for name in JUDGED))
verdicts = Table(
    "verdicts",
    metadata,
    # The series comes first in the key: every question starts from series, and a route holds most of them.
    Column("series", ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    Column("route", String(32), primary_key=True),
    Column("verdict", String(8), nullable=False),
    Column("reasons", JSON, nullable=False),
    sqlite_with_rowid=False,
)
# What a route releases of each study: what a query shows without looking at series and instances. The
# attributes are those of a series that the route releases. `rank` orders by Study Date, newest first;
# `terms` holds the rows of `released_terms` in JSON.
released = Table(
    "released",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("route", String(32), nullable=False),
    Column("study", String(44), nullable=False),
    Column("rank", Integer, nullable=False),
    *(_text(keyword) for keyword in STUDY_ATTRIBUTES),
    _text("name_key"),
    _text("physician_key"),
    _text("terms"),
    Column("series_count", Integer, nullable=False),
    Column("instance_count", Integer, nullable=False),
    UniqueConstraint("study", "route"),
    Index("released_by_rank", "route", "rank", "number"),
    *(
        Index(f"released_by_{column}", "route", column)
        for column in ("StudyInstanceUID", "PatientID", "AccessionNumber", "name_key")
    ),
)
# The series of these studies, in the order of the answers: what a query for series or instances asks of those
# that it passes over. `terms` holds what `released.write_lines` writes. The number tells the route: with a
# column for that, a planner would begin here.
released_series = Table(
    "released_series",
    metadata,
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("SeriesInstanceUID", _TEXT, primary_key=True),
    Column("series", String(44), primary_key=True),
    _text("terms"),
    Column("instance_count", Integer, nullable=False),
    sqlite_with_rowid=False,
)
# The studies turned round: by what each holds, newest first. `rank` is that of the study. There is no index
# by number, and hence no foreign key: whoever deletes a row of `released` deletes its terms by their key.
released_terms = Table(
    "released_terms",
    metadata,
    Column("route", String(32), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("value", _TEXT, primary_key=True),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
# Access tokens, which cannot be rebuilt. `digest` is the SHA-256 of the secret half, in hexadecimal digits;
# times are seconds since 1970 (UTC), `revoked` is 0 until then.
tokens = Table(
    "tokens",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("digest", String(64), nullable=False),
    _text("name"),
    Column("route", String(32), nullable=False),
    _text("made_by"),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("revoked", BigInteger, nullable=False),
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
SCHEMA = "3"
_REBUILT = frozenset(("2",))  # Schemas that lack nothing but what is made again with the verdicts.
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
            elif row.value in _REBUILT:
                connection.execute(facts.delete().where(facts.c.name == policy_fingerprint))
                connection.execute(facts.update().where(facts.c.name == schema_version).values(value=SCHEMA))
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


def query(engine: Engine, statement: Executable, given: Mapping[str, Any] | None = None) -> list[Row[Any]]:
    """The rows that `statement` finds with the parameters `given`, in a transaction of its own.

    Raises IndexUnavailable.
    """
    try:
        with engine.connect() as connection:
            return list(connection.execute(statement, given))
    except SQLAlchemyError as problem:
        raise unavailable(engine, problem) from problem


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection whose questions are all answered from the same state. Raises IndexUnavailable."""
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                # Its driver begins a transaction only where something is written.
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
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
