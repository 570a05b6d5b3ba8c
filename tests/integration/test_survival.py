"""What is left of a stamp when identity is removed is what the conformance statement says.

PROVENANCE_WRITE_TABLES=1 writes the tables there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from deidentifiers import DEID, DICOGNITO, GDCM, KITWARE, ORTHANC, orthanc_deidentifiers
from survival import Row, local_rows, row, tables

from launch import ServerFactory
from orthanc_provenance.model import State

PAGE = Path(__file__).parents[2] / "plugin" / "CONFORMANCE.md"
START = (
    "<!-- survival table, made by tests/integration/test_survival.py; "
    "PROVENANCE_WRITE_TABLES=1 rewrites it -->\n"
)
END = "\n<!-- end of survival table -->"


@pytest.fixture(scope="module")
def rows(server_factory: ServerFactory) -> Iterator[tuple[Row, ...]]:
    """What every tool leaves."""
    with server_factory(plugin=False) as server:
        yield (*(row(tool) for tool in orthanc_deidentifiers(server)), *local_rows())


def test_the_conformance_statement_tells_what_survives(rows: tuple[Row, ...]):
    page = PAGE.read_text(encoding="utf-8")
    before, found, rest = page.partition(START)
    told, ended, after = rest.partition(END)
    assert found, f"{PAGE.name} has no line {START!r}"
    assert ended, f"{PAGE.name} has no line {END.strip()!r} behind its survival table"
    made = tables(rows)
    if os.environ.get("PROVENANCE_WRITE_TABLES") == "1":
        PAGE.write_text(f"{before}{START}{made}{END}{after}", encoding="utf-8")
    else:
        assert told == made


@pytest.mark.parametrize("tool", [ORTHANC, DICOGNITO, DEID, KITWARE, GDCM])
def test_as_it_works_by_default_a_tool_leaves_every_state_readable(tool: str, rows: tuple[Row, ...]):
    default = next(one for one in rows if one.name.startswith(tool))
    for state, left in default.left.items():
        if left is not None:
            assert state in left.names, state
            assert left.read is not State.ORIGINAL or state is State.ORIGINAL
            if state.origin.may_be_labelled:
                assert left.read.origin.may_be_labelled, state


def test_what_came_without_a_label_gains_none_where_any_part_of_the_stamp_is_left(rows: tuple[Row, ...]):
    for one in rows:
        left = one.left[State.AI_GENERATED]
        if left is not None and left.names:
            assert not left.labelled, one.name
