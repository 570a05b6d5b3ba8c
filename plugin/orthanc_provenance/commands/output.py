"""Writing the results of `classify`: a format, and the file or standard output that it goes to.

A file is written beside its place, as `NAME.part`, and takes it once it is complete: whoever finds NAME finds
all of it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from ..errors import CommandError
from .people import cannot_write, named, printable, table

FORMATS = ("jsonl", "csv", "parquet", "table")
COLUMNS = (
    "path",
    "sop_instance_uid",
    "state",
    "origin",
    "identity_removed",
    "defaced",
    "labelled",
    "modifiers",
    "evidence",
    "error",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_EVIDENCE = ("axis", "says", "strength", "marker", "attribute", "value")

Result = dict[str, Any]


class Output(Protocol):
    """Takes results one by one; `close` is called once, also where the run was cut short."""

    def write(self, result: Result) -> None:
        """Write one result. Raises CommandError where it cannot be written."""

    def close(self) -> None:
        """Write what is left. Raises CommandError where that cannot be written."""


def partial_file(file: Path) -> Path:
    """Where the results are until `file` is complete."""
    return file.with_name(file.name + ".part")


@contextmanager
def open_output(form: str, file: Path | None, *, explain: bool = False) -> Iterator[Output]:
    """An output of the format `form` to `file`, or to standard output. Raises CommandError."""
    # A device or a named pipe stays what it is.
    is_file = file is not None and (file.is_file() or not file.exists())
    place = partial_file(file) if file is not None and is_file else file
    output = _make(form, place, explain)
    try:
        yield output
    finally:
        output.close()
    if file is not None and place is not None and is_file:
        try:
            os.replace(place, file)
        except OSError as problem:
            raise cannot_write(file, problem) from problem


def _make(form: str, place: Path | None, explain: bool) -> Output:
    if form == "parquet":
        from .parquet import Parquet

        if place is None:
            raise CommandError("--format parquet writes no text; name a file with --output")
        return Parquet(place)
    formats = {"jsonl": _as_json, "csv": _as_csv, "table": _explained if explain else _as_line}
    return _Lines(place, formats[form], _csv_line(COLUMNS) if form == "csv" else "")


class _Lines:
    """Results as text: `describe` makes the lines of one, with their ends."""

    def __init__(self, file: Path | None, describe: Any, head: str) -> None:
        self._file = file
        self._describe = describe
        try:
            self._stream: TextIO = (
                sys.stdout if file is None else file.open("w", encoding="utf-8", newline="\n")
            )
        except OSError as problem:
            raise cannot_write(file, problem) from problem
        self._put(head)

    def write(self, result: Result) -> None:
        self._put(self._describe(result))

    def close(self) -> None:
        try:
            if self._file is None:
                self._stream.flush()
            else:
                self._stream.close()
        except BrokenPipeError:
            raise
        except OSError as problem:
            if self._file is None:
                # Python would try again on exit, and fail again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise cannot_write(self._file, problem) from problem

    def _put(self, text: str) -> None:
        if not text.isascii():
            encoding = self._stream.encoding or "utf-8"
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        try:
            self._stream.write(text)
        except BrokenPipeError:
            raise
        except OSError as problem:
            raise cannot_write(self._file, problem) from problem


def _as_json(result: Result) -> str:
    return json.dumps(result, ensure_ascii=True) + "\n"


def flat(result: Result) -> Result:
    """`result` with one value for each of COLUMNS, None where it has none."""
    privacy = result.get("privacy", {})
    values = {**result, **privacy}
    return {column: values.get(column) for column in COLUMNS}


def _as_csv(result: Result) -> str:
    values = flat(result)
    if "error" not in result:
        values["modifiers"] = " ".join(result["modifiers"])
        values["evidence"] = json.dumps(result["evidence"], ensure_ascii=True)
    return _csv_line([_cell(column, value) for column, value in values.items()])


def _cell(column: str, value: object) -> str:
    """A value as spreadsheets and databases take it, and never as a formula of whoever made the file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = printable(str(value))
    if not text.startswith(_FORMULA):
        return text
    return f".{os.sep}{text}" if column == "path" else f"'{text}"


def _csv_line(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _as_line(result: Result) -> str:
    path = printable(result["path"])
    if "error" in result:
        return f"{'(error)':<18} {path}: {printable(result['error'])}\n"
    markers = dict.fromkeys(found["marker"] for found in result["evidence"])
    return f"{result['state']:<18} {path}  [{', '.join(notes(result))}]  {' '.join(markers)}".rstrip() + "\n"


def notes(result: Result) -> list[str]:
    """What else is to be said of a result besides its state: modifiers, privacy flags, labelled."""
    found = list(result["modifiers"])
    found += [name.replace("_", "-") for name, is_set in result["privacy"].items() if is_set]
    return found + ["labelled"] * result["labelled"]


def _explained(result: Result) -> str:
    if "error" in result:
        return _as_line(result) + "\n"
    return "\n".join(explained(result)) + "\n\n"


def explained(result: Result) -> list[str]:
    """The lines that tell a person what a file is, and by what evidence."""
    first = f"{result['state']:<18} {printable(result['path'])}"
    if also := notes(result):
        first += f"  [{', '.join(also)}]"
    if not result["evidence"]:
        return [first, "  no evidence: nothing in the header tells where the pixels come from"]
    rows = [
        [named(found[key]) if key == "attribute" else found[key] for key in _EVIDENCE]
        for found in result["evidence"]
    ]
    return [first, *table([key.upper() for key in _EVIDENCE], rows, indent="  ")]
