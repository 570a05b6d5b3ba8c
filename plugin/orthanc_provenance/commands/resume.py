"""What earlier runs have done, in a file: a SQLite database, because that survives being killed at any time.

Results hold good for a file of the same path, size and modification time, and for the same catalogue and
version of this package.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import CommandError

_MAGIC = b"SQLite format 3\0"
_APPLICATION = 0x50524F56
_SECONDS = 1.0
_WAIT_SECONDS = 1.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS made_by (key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS done (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, result TEXT NOT NULL
) WITHOUT ROWID;
"""


class Memory:
    """Remembers results in `file`; use it as a context manager. Raises CommandError where it cannot.

    `key` names everything besides the files that results depend on: those of another key are forgotten.
    At most about a second of work is lost when the process is killed.
    """

    def __init__(self, file: Path, key: str) -> None:
        self.file = file
        self._key = key
        self._committed = time.monotonic()
        if not _may_be_memory(file):
            raise CommandError(self._why("it is no memory of a run"))
        try:
            self._database = sqlite3.connect(file, isolation_level=None, timeout=_WAIT_SECONDS)
            self._prepare()
        except sqlite3.Error as problem:
            raise CommandError(self._why(problem)) from problem

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._database.in_transaction:
                self._database.execute("COMMIT")
        except sqlite3.Error as problem:
            raise CommandError(self._why(problem)) from problem
        finally:
            self._database.close()

    def _prepare(self) -> None:
        run = self._database.execute
        # Held to the end: a second run would wait for it, or both would do the same work.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("BEGIN EXCLUSIVE")
        (application,) = run("PRAGMA application_id").fetchone()
        is_new = run("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        if application != _APPLICATION and not is_new:
            raise sqlite3.DatabaseError("it is a database of something else")
        run(f"PRAGMA application_id = {_APPLICATION}")
        for statement in _SCHEMA.split(";"):
            run(statement)
        if run("SELECT key FROM made_by").fetchall() != [(self._key,)]:
            run("DELETE FROM done")
            run("DELETE FROM made_by")
            run("INSERT INTO made_by VALUES (?)", (self._key,))
        run("COMMIT")
        run("BEGIN EXCLUSIVE")

    def find(self, path: str, version: tuple[int, int]) -> dict[str, Any] | None:
        """The result for the file at `path` in this `version` (see `files`), None if there is none."""
        try:
            row = self._database.execute(
                "SELECT result FROM done WHERE path = ? AND size = ? AND changed = ?", (_name(path), *version)
            ).fetchone()
        except sqlite3.Error as problem:
            raise CommandError(self._why(problem)) from problem
        return None if row is None else {"path": path, **json.loads(row[0])}

    def keep(self, result: dict[str, Any], version: tuple[int, int]) -> None:
        """Remember the `result` for the file that it names, read in this `version`."""
        kept = json.dumps({key: value for key, value in result.items() if key != "path"})
        try:
            self._database.execute(
                "INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?)", (_name(result["path"]), *version, kept)
            )
            if time.monotonic() - self._committed > _SECONDS:
                self._database.execute("COMMIT")
                self._database.execute("BEGIN EXCLUSIVE")
                self._committed = time.monotonic()
        except sqlite3.Error as problem:
            raise CommandError(self._why(problem)) from problem

    def _why(self, problem: sqlite3.Error | str) -> str:
        if "locked" in str(problem):
            return f"--resume: {self.file} is in use by another run; wait for it, or name another file"
        return (
            f"--resume: {self.file} cannot be used ({problem}); name a file that an earlier run has made, or"
            " one that is not there yet in a folder that can be written"
        )


def _may_be_memory(file: Path) -> bool:
    """Whether SQLite may open `file`: what is too short to be a database it would take for an empty one."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(_MAGIC)) in (b"", _MAGIC)
    except OSError:
        # It is not there yet, or SQLite tells why it cannot be opened.
        return True


def _name(path: str) -> bytes:
    return os.fsencode(os.path.abspath(path))
