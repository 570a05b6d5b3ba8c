"""Text for people at a terminal: tables, and what must not reach a terminal as it is."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom.datadict import keyword_for_tag

from ..errors import CommandError


def hush_pydicom() -> None:
    """Broken values are to be expected: pydicom's warnings about them would hide what a command tells."""
    warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")


def printable(text: str) -> str:
    """`text` on one line: what cannot be printed, or would steer the terminal, is escaped as Python does it.

    That also goes for bytes of file names that are no UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "") -> list[str]:
    """The lines of a table with aligned columns."""
    cells = [tuple(head), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]


def named(attribute: str) -> str:
    """An attribute path as evidence has it, with the keyword of its last element where PS3.6 has one."""
    digits = attribute.rpartition(">")[2].partition(")")[0].strip("(").replace(",", "")
    try:
        keyword = keyword_for_tag(int(digits, 16))
    except ValueError:
        keyword = ""
    return f"{attribute} {keyword}".rstrip()


def cannot_write(file: Path | None, problem: OSError) -> CommandError:
    """What to tell about an output that cannot be written."""
    where = "standard output" if file is None else f"--output: {file}"
    return CommandError(
        f"{where} cannot be written ({problem.strerror or problem}); make room, or write elsewhere"
    )
