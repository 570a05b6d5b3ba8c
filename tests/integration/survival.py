"""What tools that remove identity leave of a stamp, as the tables of the conformance statement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from deidentified_samples import assessed, completed, scanned
from deidentifiers import Deidentifier, RefusedError, local_deidentifiers
from evidence_samples import PRESENTATION_STATE, SLICER, equipment, shipped
from pydicom import Dataset
from signed_samples import OURS, trusted

from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.header import Header, read_header
from orthanc_provenance.intake import Intake, assess_received
from orthanc_provenance.model import State
from orthanc_provenance.stamp.block import read_stamps
from orthanc_provenance.stamp.elements import (
    CONTRIBUTING_EQUIPMENT_SEQUENCE,
    MANUFACTURER,
    PRIVATE_CHARACTERISTICS_SEQUENCE,
    PURPOSE_OF_REFERENCE,
    SYNTHETIC_DATA,
    claimed_states,
)
from orthanc_provenance.stamp.received import check_stamps

KEPT, REMOVED, CHANGED = "kept", "removed", "changed"
PARTS = (
    "Synthetic Data (0008,001C)",
    "Item in Contributing Equipment (0018,A001)",
    "Private block (0099,xx01-0A)",
    "Its declaration as safe (0008,0300)",
    "Signed statement",
)
_REFUSED = "refused"
_ITEM = (0x00080070, 0x00081090, 0x00181020)


@cache
def stamped() -> dict[State, bytes]:
    """An object of each state with its stamp.

    Everything that tells how artificial content came about stands where some tool removes it, in an object
    that is otherwise what a scanner wrote: without the stamp it would pass as acquired then.
    """
    generator = _dataset(equipment("NVIDIA", "StyleGAN2"))
    objects = {
        State.ORIGINAL: scanned(),
        State.PRIVACY_PROTECTED: scanned(PatientIdentityRemoved="YES"),
        State.AI_DERIVED: scanned(
            SeriesDescription="CAUTION: Not for Diagnostic Use, for research use only."
        ),
        State.AI_GENERATED: scanned(ContributingEquipmentSequence=generator),
        State.SIMULATED: scanned(StudyDescription="Simulated Digital Mammography"),
        State.UNDETERMINED: completed(SLICER),
        State.NON_IMAGE: completed({"SOPClassUID": PRESENTATION_STATE, "Modality": "PR"}, pixels=False),
    }
    gateway = Intake(shipped(), "All", OURS)
    found = {}
    for state, data in objects.items():
        assert assessed(data).state is state
        result = gateway.receive(data).stamped
        assert result is not None
        found[state] = result
    return found


def _dataset(items: list[dict[str, str]]) -> list[Dataset]:
    datasets = []
    for item in items:
        dataset = Dataset()
        for keyword, value in item.items():
            setattr(dataset, keyword, value)
        datasets.append(dataset)
    return datasets


@dataclass(frozen=True)
class Left:
    """What one tool leaves of the stamp of one object."""

    parts: tuple[str | None, ...]
    """Of each of PARTS what became of it; None where the stamp had none."""
    read: State
    read_with_key: State
    names: frozenset[State]
    """The states that what is left of the stamp names."""
    labelled: bool


@dataclass(frozen=True)
class Row:
    """What one tool leaves of the stamps of all objects; None where it refuses the object."""

    name: str
    left: dict[State, Left | None]


def row(tool: Deidentifier) -> Row:
    """What `tool` leaves."""
    return Row(tool.name, {state: _left(tool, data) for state, data in stamped().items()})


@cache
def local_rows() -> tuple[Row, ...]:
    """The rows of the tools that need no server."""
    return tuple(row(tool) for tool in local_deidentifiers())


def _left(tool: Deidentifier, data: bytes) -> Left | None:
    try:
        after = read_header(tool.run(data))
    except RefusedError:
        return None
    before = read_header(data)
    digest = pixel_digest(after)
    stamps = read_stamps(after)
    statements = [one.word.value for one in check_stamps(after, stamps, trusted(), digest)]
    parts = (
        _part(before, after, SYNTHETIC_DATA),
        _item(before, after),
        REMOVED if not stamps else KEPT if stamps == read_stamps(before) else CHANGED,
        _part(before, after, PRIVATE_CHARACTERISTICS_SEQUENCE),
        ", ".join(statements) or REMOVED,
    )
    alone = assess_received(after, shipped())
    return Left(
        parts=parts,
        read=alone.state,
        read_with_key=assess_received(after, shipped(), trusted(), digest).state,
        names=frozenset(claimed_states(after)) | {stamp.state for stamp in stamps if stamp.state},
        labelled=alone.labelled,
    )


def _part(before: Header, after: Header, tag: int) -> str | None:
    if tag not in before:
        return None
    if tag not in after:
        return REMOVED
    # An Item may be written anew with other lengths: what counts is that it is there.
    return KEPT if tag == PRIVATE_CHARACTERISTICS_SEQUENCE or before.text(tag) == after.text(tag) else CHANGED


def _item(before: Header, after: Header) -> str:
    ours, found = _our_items(before), _our_items(after)
    return REMOVED if not found else KEPT if ours == found else CHANGED


def _our_items(header: Header) -> list[tuple[tuple[str, ...], ...]]:
    return [
        (
            *(item.texts(tag) for tag in _ITEM),
            *(code.texts(0x00080100) for code in item.items(PURPOSE_OF_REFERENCE)),
        )
        for item in header.items(CONTRIBUTING_EQUIPMENT_SEQUENCE)
        if item.text(_ITEM[0]) == MANUFACTURER
    ]


def tables(rows: Iterable[Row]) -> str:
    """The tables in Markdown."""
    rows = tuple(rows)
    parts = [_line("Tool (options)", *PARTS), _line(*["---"] * (len(PARTS) + 1))]
    parts += [_line(one.name, *_parts(one)) for one in rows]
    states = [_line("Tool (options)", *State, "unlabelled stays so"), _line(*["---"] * (len(State) + 2))]
    states += [
        _line(one.name, *(_reading(state, one.left[state]) for state in State), _unlabelled(one))
        for one in rows
    ]
    return "\n".join((*parts, "", *states))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _parts(one: Row) -> list[str]:
    """Of each part what became of it in most objects, and then in the others."""
    cells = []
    for place in range(len(PARTS)):
        states: dict[str, list[State]] = {}
        for state, left in one.left.items():
            if left is not None and (became := left.parts[place]) is not None:
                states.setdefault(became, []).append(state)
        first, *others = sorted(states, key=lambda became: -len(states[became]))
        cells.append("; ".join((first, *(f"{other} ({', '.join(states[other])})" for other in others))))
    return cells


def _reading(state: State, left: Left | None) -> str:
    if left is None:
        return _REFUSED
    if left.read_with_key is not left.read:
        return f"{left.read} ({left.read_with_key} with the key)"
    if left.read.origin is state.origin:
        return str(left.read)
    return f"{left.read} (names {state})" if state in left.names else f"**{left.read}**"


def _unlabelled(one: Row) -> str:
    left = one.left[State.AI_GENERATED]
    if left is None:
        return _REFUSED
    if not left.read.origin.may_be_labelled:
        return "–"
    return "**no**" if left.labelled else "yes"
