"""Removing identity never moves where pixels come from, and is seen wherever a tool leaves a trace.

The tools are real, and so are the files: all of the test data, and what simulators, generators and AI
products write. What a tool refuses, or strips beyond recognition, is listed here by name, so that nothing is
passed over.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from deidentified_samples import artificial, assessed, imitations
from deidentifiers import (
    DEID,
    DICOGNITO,
    GDCM,
    KITWARE,
    ORTHANC,
    Deidentifier,
    RefusedError,
    local_deidentifiers,
    orthanc_deidentifiers,
)
from evidence_samples import labels, shipped
from pydicom import Dataset, dcmread
from signed_samples import OURS, trusted

from launch import ServerFactory
from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.intake import Intake, assess_received
from orthanc_provenance.model import Modifier, Origin, State

FILES = 77

_NO_PREAMBLE = "syntax-1.2.840.10008.1.2.dcm"

# gdcmanon takes nothing of which the identity was removed before, and no SOP class that it does not know.
_GDCM_REFUSES = """
ct-philips-gemini-rle.dcm pt-siemens-mct-anonymised.dcm mr-hitachi-airis.dcm us-mindray.dcm
ct-siemens-dentascan.dcm mr-philips-enhanced-orthanc-anonymised.dcm pt-philips-gemini.dcm
us-philips-clearvue-implicit.dcm pdf-encapsulated.dcm ot-unknown-sop-class.dcm ct-siemens-mpr.dcm ct-tcia.dcm
rtstruct-plastimatch-tcia.dcm mr-siemens-essenza-iso-ir13.dcm
"""
_GRAPHY = "simulator.graphy-next, example 2"
REFUSED = {
    # It cannot read a birth date of "%".
    f"{DICOGNITO} (default)": frozenset({"pr-lunit.dcm", _NO_PREAMBLE}),
    f"{KITWARE} (default)": frozenset({_NO_PREAMBLE}),
    f"{KITWARE} (rules of 2024b)": frozenset({_NO_PREAMBLE}),
    f"{KITWARE} (`--keepPrivateTags`)": frozenset({_NO_PREAMBLE}),
    f"{GDCM} (`--de-identify`)": frozenset(_GDCM_REFUSES.split()),
}
"""What each tool refuses, by tool and file; of any other it refuses nothing."""

# Of these little more was there than the names of the equipment and dates: nothing is left to tell them from
# an export that names equipment.
_XEOS = "ct-xeos-petct.dcm"  # one tube voltage
_RF = "rf-siemens.dcm"  # one radiation setting
_US = "syntax-1.2.840.10008.1.2.2.dcm"  # the serial number of the scanner
_TCIA = "ct-tcia.dcm"  # a frame of reference, of what another tool had left
_REGIONS = {"us-hp-multiframe.dcm", "us-ge-logiqe-j2k.dcm", "us-esaote.dcm"}
# Captures that say of their source that they are it, compressed: in a description, which these tools remove.
_COMPRESSED = {"syntax-1.2.840.10008.1.2.4.80.dcm", "syntax-1.2.840.10008.1.2.4.90.dcm"}
FORGOTTEN = {
    f"{DEID} (default recipe)": {_XEOS, _TCIA},
    f"{DEID} (short recipe)": {_XEOS},
    f"{DEID} (short recipe, `remove_private`)": {_XEOS},
    f"{DEID} (short recipe, `strip_sequences`)": {_XEOS, *_REGIONS},
    f"{DEID} (short recipe, `remove_private`, `strip_sequences`)": {_XEOS, *_REGIONS},
    f"{KITWARE} (default)": {_XEOS, *_COMPRESSED},
    f"{KITWARE} (rules of 2024b)": {_XEOS, *_COMPRESSED},
    f"{KITWARE} (`--keepPrivateTags`)": {_XEOS, *_COMPRESSED},
    f"{GDCM} (`--de-identify`)": {_XEOS, _RF, _US},
    f"{ORTHANC} (default)": {_XEOS, _RF, _US},
    f"{ORTHANC} (`KeepPrivateTags`)": {_XEOS, _RF, _US},
    f"{ORTHANC} (`DicomVersion` 2008)": {_XEOS, _RF, _US},
    f"{ORTHANC} (`Remove` of SyntheticData and Contributing Equipment)": {_XEOS, _RF, _US},
}
"""Acquisitions of which too little is left to tell, by tool and file; of any other all stay acquired."""

STAMP_GONE = frozenset(
    {
        f"{DEID} (short recipe, `remove_private`, `strip_sequences`)",
        f"{ORTHANC} (`Remove` of SyntheticData and Contributing Equipment)",
    }
)
"""Tools told to take every part of a stamp that says how the content came about."""


@dataclass
class Found:
    """What one tool made of all files."""

    refused: set[str] = field(default_factory=set)
    moved: dict[tuple[Origin, Origin], set[str]] = field(default_factory=dict)
    flagless: set[str] = field(default_factory=set)
    """Files with a trace of the tool that are not assessed as `identity_removed`."""
    traceless: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    """Files that were assessed as `identity_removed` before and no longer are."""


def run_on_real_files(tool: Deidentifier, folder: Path) -> Found:
    found = Found()
    files = [folder / label["path"] for label in labels()]
    assert len(files) >= FILES, "the test data is not complete"
    for file in files:
        data = file.read_bytes()
        before = assessed(data)
        try:
            result = tool.run(data)
        except RefusedError:
            found.refused.add(file.name)
            continue
        after = assessed(result)
        if after.origin is not before.origin:
            found.moved.setdefault((before.origin, after.origin), set()).add(file.name)
        if not has_trace(tool, dcmread(io.BytesIO(result), force=True)):
            found.traceless.add(file.name)
        elif not after.privacy.identity_removed:
            found.flagless.add(file.name)
        if before.privacy.identity_removed and not after.privacy.identity_removed:
            found.lost.add(file.name)
    return found


def _acceptable(origin: Origin) -> set[str]:
    """The files of which the labels of the test data accept `origin`."""
    return {Path(label["path"]).name for label in labels() if origin.value in label["origin"]}


def has_trace(tool: Deidentifier, dataset: Dataset) -> bool:
    """Whether the object holds what the tool documents that it writes."""
    method = dataset.get("DeidentificationMethod") or ""
    methods = [method] if isinstance(method, str) else list(method)
    removed = dataset.get("PatientIdentityRemoved") == "YES"
    match tool.tool:
        case "dicognito":
            return "DICOGNITO" in methods
        case "pydicom/deid":
            return removed
        case "Kitware dicom-anonymizer":
            dates = {str(element.value) for element in dataset if element.VR == "DA"}
            return "00010101" in dates or any(element.value == "ANONYMIZED" for element in dataset)
        case "gdcmanon":
            return removed and methods == ["BASIC APPLICATION LEVEL CONFIDENTIALITY PROFILE"]
        case _:
            return removed and any(one.startswith("Orthanc ") for one in methods)


def check_real_files(tool: Deidentifier, folder: Path) -> None:
    found = run_on_real_files(tool, folder)
    assert found.refused <= REFUSED.get(tool.name, frozenset()), "refused, and nobody knew"
    for (before, after), files in found.moved.items():
        assert not after.may_be_labelled, f"{before} became {after}: {files}"
        assert not (before.may_be_labelled and after is Origin.ACQUIRED), f"{before} became acquired: {files}"
        if after is not Origin.UNDETERMINED:
            assert files <= _acceptable(after), f"{before} became {after}"
    forgotten = found.moved.get((Origin.ACQUIRED, Origin.UNDETERMINED), set())
    assert forgotten <= FORGOTTEN.get(tool.name, set()), "no longer acquired"
    assert not found.flagless
    assert not found.lost
    if "--dumb" not in tool.options:
        assert not found.traceless


def check_artificial(tool: Deidentifier) -> None:
    check_never_acquired(tool, _artificial())


def check_stamped_imitations(tool: Deidentifier) -> None:
    check_never_acquired(tool, _stamped_imitations())


def check_never_acquired(tool: Deidentifier, objects: tuple[tuple[str, bytes], ...]) -> None:
    assert len(objects) > 50, "hardly any marker makes an object artificial"
    refused, became = set(), set()
    for name, data in objects:
        try:
            result = tool.run(data)
        except RefusedError:
            refused.add(name)
            continue
        if assessed(result).origin is Origin.ACQUIRED:
            became.add(name)
    assert not became
    assert refused <= ({_GRAPHY} if tool.name == f"{GDCM} (`--de-identify`)" else set())


@cache
def _artificial() -> tuple[tuple[str, bytes], ...]:
    return tuple(artificial())


@cache
def _stamped_imitations() -> tuple[tuple[str, bytes], ...]:
    """The imitations as they leave the gateway that saw them complete."""
    gateway = Intake(shipped(), "All", OURS)
    stamped = ((name, gateway.receive(data).stamped) for name, data in imitations())
    return tuple((name, data) for name, data in stamped if data is not None)


@pytest.fixture(scope="module")
def orthanc(server_factory: ServerFactory) -> Iterator[tuple[Deidentifier, ...]]:
    """What an Orthanc without our plugin offers."""
    with server_factory(plugin=False) as server:
        yield orthanc_deidentifiers(server)


def _keeps_block() -> list[Deidentifier]:
    """Tools that leave a stamp its private block, and little else."""
    names = (f"{DEID} (short recipe)", f"{KITWARE} (`--keepPrivateTags`)", f"{GDCM} (`--de-identify`)")
    return [tool for tool in local_deidentifiers() if tool.name in names]


every_tool = pytest.mark.parametrize("tool", local_deidentifiers(), ids=lambda tool: tool.name)


@every_tool
def test_a_tool_moves_no_real_file_towards_synthetic_and_is_seen_where_it_leaves_a_trace(
    tool: Deidentifier, shared_data: Path
):
    check_real_files(tool, shared_data)


@every_tool
def test_a_tool_makes_nothing_artificial_acquired(tool: Deidentifier):
    check_artificial(tool)


@pytest.mark.parametrize(
    "tool",
    [tool for tool in local_deidentifiers() if tool.name not in STAMP_GONE],
    ids=lambda tool: tool.name,
)
def test_a_tool_makes_nothing_acquired_that_only_its_stamp_still_tells(tool: Deidentifier):
    check_stamped_imitations(tool)


def test_orthanc_moves_no_real_file_towards_synthetic_and_is_seen(
    orthanc: tuple[Deidentifier, ...], shared_data: Path
):
    for tool in orthanc:
        check_real_files(tool, shared_data)


def test_orthanc_makes_nothing_artificial_acquired(orthanc: tuple[Deidentifier, ...]):
    for tool in orthanc:
        check_artificial(tool)
        if tool.name not in STAMP_GONE:
            check_stamped_imitations(tool)


@pytest.mark.parametrize("tool", _keeps_block(), ids=lambda tool: tool.name)
def test_what_is_left_of_a_thin_header_is_acquired_to_whoever_trusts_its_stamp(
    tool: Deidentifier, shared_data: Path
):
    data = Intake(shipped(), "All", OURS).receive((shared_data / "real" / _XEOS).read_bytes()).stamped
    assert data is not None
    after = read_header(tool.run(data))

    known = assess_received(after, shipped(), trusted(), pixel_digest(after))

    assert known.state is State.PRIVACY_PROTECTED
    assert Modifier.INHERITED in known.modifiers
    assert assess_received(after, shipped()).origin is Origin.UNDETERMINED
