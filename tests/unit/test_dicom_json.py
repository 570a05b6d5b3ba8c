"""The DICOM JSON Model: what pydicom reads from it is what pydicom reads from the object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dicom_samples import BIG_ENDIAN, EXPLICIT, IMPLICIT, bundled_files, decode, encode, image, real_files
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.doors.dicom_json import attribute, dataset_json
from orthanc_provenance.errors import HeaderError

FILES = [*bundled_files(), *real_files()]


def shown(dataset: Dataset, syntax: str = EXPLICIT) -> dict[str, object]:
    return dataset_json(read_header(encode(dataset, syntax)))


def same(ours: Dataset, theirs: Dataset, path: str = "") -> None:
    """Every attribute of `ours` has the value that it has in `theirs`."""
    for element in ours:
        where = f"{path}{element.tag}"
        if element.tag == 0x00080005:
            continue
        try:
            other = theirs[element.tag]
        except (ValueError, KeyError, NotImplementedError, AttributeError):
            continue
        if element.VR == "SQ" and other.VR == "SQ":
            assert len(element.value) == len(other.value), where
            for number, (one, two) in enumerate(zip(element.value, other.value, strict=True), 1):
                same(one, two, f"{where}[{number}]>")
        elif element.VR == other.VR and not element.is_empty:
            assert _text(element.value) == _text(other.value), where


def _text(value: object) -> str:
    values = value if isinstance(value, list) or hasattr(value, "append") else [value]
    return "\\".join(_one(one) for one in values).rstrip()  # type: ignore[union-attr]


def _one(value: object) -> str:
    try:
        return str(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value).strip(" \0=")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_values_of_whole_files_are_those_that_pydicom_reads(path: Path) -> None:
    data = path.read_bytes()
    try:
        header = read_header(data)
    except HeaderError:
        pytest.skip("no object that the index would hold")
    text = json.dumps(dataset_json(header), allow_nan=False)
    ours = Dataset.from_json(text)
    assert 0x7FE00010 not in ours
    same(ours, decode(data))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_the_encoding_does_not_matter(syntax: str) -> None:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3.4"
    made = image(
        PatientName="Yamada^Tarou=山田^太郎",
        SpecificCharacterSet="ISO_IR 192",
        ImageType=["DERIVED", "", "X"],
        SliceThickness="1.50",
        SeriesNumber="7",
        Columns=512,
        PixelRepresentation=1,
        SmallestImagePixelValue=-5,
        FrameIncrementPointer=[0x00181063, 0x00181065],
        SourceImageSequence=Sequence([item, Dataset()]),
        ReferencedStudySequence=Sequence([]),
        ImageComments="a\\b ",
    )
    found = shown(made, syntax)
    assert found["00100010"] == {
        "vr": "PN",
        "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}],
    }
    assert found["00080008"] == {"vr": "CS", "Value": ["DERIVED", None, "X"]}
    assert found["00180050"] == {"vr": "DS", "Value": [1.5]}
    assert found["00200011"] == {"vr": "IS", "Value": [7]}
    assert found["00280011"] == {"vr": "US", "Value": [512]}
    assert found["00280106"] == {"vr": "SS", "Value": [-5]}
    assert found["00280009"] == {"vr": "AT", "Value": ["00181063", "00181065"]}
    assert found["00082112"] == {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.3.4"]}}, {}]}
    assert found["00081110"] == {"vr": "SQ"}
    assert found["00204000"] == {"vr": "LT", "Value": ["a\\b"]}
    assert "7FE00010" not in found


def test_text_is_always_told_as_utf_8() -> None:
    found = shown(image(PatientName="Müller", SpecificCharacterSet="ISO_IR 100"))
    assert found["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller"}]}


def test_what_would_be_bulk_data_is_left_out() -> None:
    made = image()
    made.add_new(0x00091001, "OB", bytes(4096))
    made.add_new(0x00091002, "OB", bytes(4098))
    made.add_new(0x00091003, "UT", "x" * 70_000)
    found = shown(made)
    assert "00091001" in found
    assert not {"00091002", "00091003"} & set(found)


def test_numbers_that_json_does_not_have_are_strings() -> None:
    made = image()
    made.add_new(0x00091001, "FD", [float("nan"), float("inf"), float("-inf"), 0.5])
    found = shown(made)
    assert found["00091001"] == {"vr": "FD", "Value": ["NaN", "inf", "-inf", 0.5]}


def test_text_that_writes_no_number_is_no_value() -> None:
    given = ["12", "1a", "", "3.0", "2.5", "1_000", "+7", "100000000000000000001"]
    found = [12, None, None, 3, None, None, 7, 100000000000000000001]
    assert attribute("IS", given) == {"vr": "IS", "Value": found}
    assert attribute("DS", ["1e400", "1.5", "1_0.5", "-.5", "5.", "1E2", "nan", "\u0661"]) == {
        "vr": "DS",
        "Value": ["1e400", 1.5, None, -0.5, 5.0, 100.0, None, None],
    }
    assert attribute("IS", ["one"]) == {"vr": "IS"}
    assert attribute("US", ["one"]) == {"vr": "US"}
    assert attribute("LO", ["", ""]) == {"vr": "LO"}


@pytest.mark.parametrize("name", ["=", "=="])
def test_a_name_of_nothing_is_no_value(name: str) -> None:
    assert attribute("PN", [name]) == {"vr": "PN"}
    assert attribute("PN", [name, "A"]) == {"vr": "PN", "Value": [None, {"Alphabetic": "A"}]}


def test_only_what_may_be_bulk_data_is_bulk_data() -> None:
    """The VRs are those of PS3.18 section F.2.2."""
    made = image()
    made.add_new(0x00091001, "UC", "x" * 70_000)
    made.add_new(0x00091002, "UR", "x" * 70_000)
    found = dataset_json(read_header(encode(made)), "/bulk/")
    assert found["00091001"] == {"vr": "UC", "BulkDataURI": "/bulk/00091001"}
    assert found["00091002"] == {"vr": "UN", "BulkDataURI": "/bulk/00091002"}


def test_sequences_without_end_are_cut_off() -> None:
    made = image()
    inner = Dataset()
    for _ in range(100):
        outer = Dataset()
        outer.SourceImageSequence = Sequence([inner])
        inner = outer
    made.SourceImageSequence = Sequence([inner])
    depth, found = 0, shown(made)
    while "00082112" in found:
        depth, found = depth + 1, found["00082112"]["Value"][0]  # type: ignore[index]
    assert depth == 32
