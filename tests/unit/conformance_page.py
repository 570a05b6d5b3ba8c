"""The tables of the DICOM Conformance Statement, for the tests that hold the program against it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "plugin" / "CONFORMANCE.md").read_text(encoding="utf-8")


def tables() -> Iterator[list[dict[str, str]]]:
    """The tables of the page, each a list of rows by the names of its columns."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        names, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        )
        yield [dict(zip(names, row, strict=True)) for row in rows]


def table(*columns: str) -> list[dict[str, str]]:
    """The one table that has these columns."""
    (found,) = (rows for rows in tables() if rows and set(columns) <= rows[0].keys())
    return found


def literals(text: str) -> list[str]:
    """What stands between backquotes in a cell."""
    return re.findall(r"`([^`]+)`", text)
