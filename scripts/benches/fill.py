"""Makes an index of very many studies, without an archive behind it: for `qido`, and for looking around in.

A thousand studies go through the real writer; their rows are copied, each copy with identifiers, UIDs,
patient, and date of its own. Two instances stand for each series.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.schema import CreateIndex

from orthanc_provenance.config import Route
from orthanc_provenance.index.record import read_header_text, write_header
from orthanc_provenance.index.released import rank
from orthanc_provenance.index.schema import metadata, open_engine
from orthanc_provenance.index.writer import Put, Settle, Writer

from .templates import templates

NAME = "fill"
_TEMPLATES = 1000
_AT_ONCE = 2000
_FAMILIES = ("Abel", "Bauer", "Costa", "Dupont", "Eriksson", "Fischer", "Garcia", "Horvat", "Ito", "Jansen")
_GIVEN = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gil", "Hana", "Ian", "Joy")

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("folder", type=Path, help="where to put provenance.db")
    parser.add_argument("--studies", type=int, default=1_000_000, help="studies (default 1,000,000)")


def run(options: argparse.Namespace) -> int:
    """Make the index, and say how long it took and how large it is."""
    start = time.perf_counter()
    file = fill(options.folder, options.studies)
    size = file.stat().st_size / 1e9
    print(f"{options.studies} studies in {time.perf_counter() - start:.0f} s, {size:.2f} GB: {file}")
    return 0


def fill(folder: Path, count: int, templates_used: int = _TEMPLATES) -> Path:
    """Make `provenance.db` with `count` studies in `folder`. Raises FileExistsError where there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "provenance.db"
    if file.exists():
        raise FileExistsError(f"{file} is there already: remove it, or name another folder")
    with tempfile.TemporaryDirectory() as scratch:
        small = _written(Path(scratch), min(count, templates_used))
        parts = _by_study(small)
        facts = _rows(small, "facts")
    _create(file)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=MEMORY")
        connection.execute("PRAGMA cache_size=-500000")
        _insert(connection, "facts", facts)
        chance = random.Random(count)
        for first in range(0, count, _AT_ONCE):
            waiting: dict[str, list[Row]] = {}
            for number in range(first, min(first + _AT_ONCE, count)):
                for table, rows in _copied(parts[number % len(parts)], number, chance).items():
                    waiting.setdefault(table, []).extend(rows)
            for table in metadata.sorted_tables:
                _insert(connection, table.name, waiting.get(table.name, []))
        connection.commit()
        for table in metadata.sorted_tables:
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(str(CreateIndex(index).compile(_DIALECT)))
        connection.execute("PRAGMA journal_mode=WAL")
    return file


_DIALECT = create_engine("sqlite://")


def _written(folder: Path, count: int) -> sqlite3.Connection:
    """The index of the templates, in memory."""
    writer = Writer(open_engine("", folder), (Route(),), lambda _written, _touched: None)
    writer.start()
    for number, study in enumerate(templates(count)):
        for record in study:
            writer.submit(Put(record))
        if number % 500 == 499:
            writer.flush()
    writer.submit(Settle(None, settled=True))
    if not writer.flush(300.0):
        raise SystemExit(f"error: {writer.failure or 'the templates were not written'}")
    writer.stop()
    memory = sqlite3.connect(":memory:")
    with sqlite3.connect(folder / "provenance.db") as file:
        file.backup(memory)
    memory.row_factory = sqlite3.Row
    return memory


def _by_study(connection: sqlite3.Connection) -> list[dict[str, list[Row]]]:
    """The rows of every study by table."""
    study_of = {row["id"]: row["study"] for row in _rows(connection, "series")}
    released_of = {row["number"]: row["study"] for row in _rows(connection, "released")}
    place: dict[str, Callable[[Row], str]] = {
        "studies": lambda row: row["id"],
        "series": lambda row: row["study"],
        "released": lambda row: row["study"],
        "instances": lambda row: study_of[row["series"]],
        "verdicts": lambda row: study_of[row["series"]],
        "released_series": lambda row: released_of[row["number"]],
        "released_terms": lambda row: released_of[row["number"]],
    }
    found: dict[str, dict[str, list[Row]]] = {}
    for table, study in place.items():
        for row in _rows(connection, table):
            found.setdefault(study(row), {}).setdefault(table, []).append(row)
    return [found[study] for study in sorted(found)]


def _rows(connection: sqlite3.Connection, table: str) -> list[Row]:
    return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


def _copied(part: dict[str, list[Row]], number: int, chance: random.Random) -> dict[str, list[Row]]:
    """The rows of one study as those of study `number`."""
    date = f"{chance.randint(2008, 2025)}{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}"
    name = f"{chance.choice(_FAMILIES)}{number % 977}^{chance.choice(_GIVEN)}"
    who = {"StudyInstanceUID": f"1.2.826.0.1.3680043.10.{number}", "PatientName": name}
    who |= {"PatientID": f"P{number // 3:09d}", "StudyDate": date, "AccessionNumber": f"A{number:09d}"}
    header = write_header({**read_header_text(part["studies"][0]["header"]), **who})
    return {table: [_copy(table, row, number, who, header) for row in rows] for table, rows in part.items()}


def _copy(table: str, row: Row, number: int, who: Row, header: str) -> Row:
    new = dict(row)
    for name in ("id", "study", "series"):
        if name in new:
            # The last twelve digits of an identifier of the templates tell series and instance apart.
            new[name] = f"{number:032x}{row[name][-12:]}"
    for name in ("SeriesInstanceUID", "SOPInstanceUID"):
        if name in new:
            new[name] = who["StudyInstanceUID"] + "." + row[name].split(".", 3)[3]
    if "header" in new:
        new["header"] = header
    if table == "studies":
        new["StudyInstanceUID"] = who["StudyInstanceUID"]
    elif table == "instances":
        new["pixel_digest"] = f"sha256:{number:060x}{row['id'][-4:]}"
    elif table == "released":
        new |= who
        new |= {"name_key": who["PatientName"].upper()}
    if "number" in new:
        new |= {"number": number + 1}
    if "rank" in new:
        new |= {"rank": rank(who["StudyDate"])}
    return new


def _create(file: Path) -> None:
    """The tables alone: indexes are made faster when all rows are there."""
    engine = create_engine(f"sqlite:///{file}")
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    metadata.create_all(engine)
    with engine.begin() as connection:
        for index in indexes:
            index.drop(connection)
    engine.dispose()


def _insert(connection: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    if rows:
        names = ", ".join(f'"{name}"' for name in rows[0])
        marks = ", ".join("?" * len(rows[0]))
        values: Iterator[tuple[Any, ...]] = (tuple(row.values()) for row in rows)
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)
