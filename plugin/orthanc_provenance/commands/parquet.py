"""Results of `classify` as Apache Parquet, in the shape that they have as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import CommandError
from .people import cannot_write, printable

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None

_ROWS = 8192


class Parquet:
    """Writes results to `file` in groups of 8,192 rows. Raises CommandError, also without pyarrow."""

    def __init__(self, file: Path) -> None:
        if pyarrow is None:
            raise CommandError(
                "--format parquet needs the package pyarrow; install it with"
                ' pip install "orthanc-provenance[parquet]", or take --format csv'
            )
        self._file = file
        self._rows: list[dict[str, Any]] = []
        self._schema = _schema()
        try:
            self._writer = pyarrow.parquet.ParquetWriter(file, self._schema, compression="zstd")
        except OSError as problem:
            raise cannot_write(file, problem) from problem

    def write(self, result: dict[str, Any]) -> None:
        """Take one result, and write all that are waiting once they are many."""
        self._rows.append({**result, "path": printable(result["path"])})
        if len(self._rows) >= _ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is waiting, and the end of the file, without which nothing in it can be read."""
        try:
            self._flush()
            self._writer.close()
        except OSError as problem:
            raise cannot_write(self._file, problem) from problem

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        try:
            if rows:
                self._writer.write_table(pyarrow.Table.from_pylist(rows, schema=self._schema))
        except OSError as problem:
            raise cannot_write(self._file, problem) from problem


def _schema() -> Any:
    text, flag = pyarrow.string(), pyarrow.bool_()
    found = [(name, text) for name in ("marker", "attribute", "value", "axis", "strength")]
    return pyarrow.schema(
        [
            ("path", text),
            ("sop_instance_uid", text),
            ("state", text),
            ("origin", text),
            ("privacy", pyarrow.struct([("identity_removed", flag), ("defaced", flag)])),
            ("labelled", flag),
            ("modifiers", pyarrow.list_(text)),
            ("evidence", pyarrow.list_(pyarrow.struct(found))),
            ("error", text),
        ]
    )
