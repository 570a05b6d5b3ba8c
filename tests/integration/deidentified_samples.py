"""Objects of every origin for the tools that remove identity: complete enough that tools take them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from evidence_samples import CT, DICOMATOR, MONAI_DEPLOY, REAL_CT, VICTRE, Table, merged, shipped
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.evidence.examples import example_header
from orthanc_provenance.intake import assess_received
from orthanc_provenance.model import Assessment, Axis

_ROOT = "1.2.826.0.1.3680043.10.2000"
# What every composite object has, so that a tool finds an identity to remove.
_IDENTITY = {
    "SOPClassUID": CT,
    "Modality": "CT",
    "SOPInstanceUID": f"{_ROOT}.1",
    "SeriesInstanceUID": f"{_ROOT}.2",
    "StudyInstanceUID": f"{_ROOT}.3",
    "PatientName": "Doe^Jane",
    "PatientID": "4711",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "StudyDate": "20240101",
    "StudyTime": "101010",
    "AccessionNumber": "0815",
    "ReferringPhysicianName": "Roe^Richard",
    "StudyID": "1",
    "SeriesNumber": "1",
    "InstanceNumber": "1",
}
_PIXELS = {
    "Rows": 4,
    "Columns": 4,
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelRepresentation": 0,
}


def assessed(data: bytes) -> Assessment:
    """The assessment of an object by what is in it alone: no lineage, no keys."""
    return assess_received(read_header(data), shipped())


def encoded(dataset: Dataset) -> bytes:
    """`dataset` as a file."""
    out = io.BytesIO()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def completed(table: Table, *, pixels: bool = True) -> bytes:
    """A file with the attributes in `table`, an identity, and a few pixels."""
    dataset = dcmread(io.BytesIO(bytes(example_header(table).buffer)))
    for keyword, value in {**_IDENTITY, **(_PIXELS if pixels else {})}.items():
        if keyword not in dataset:
            setattr(dataset, keyword, value)
    if pixels:
        dataset.add_new(0x7FE00010, "OW", bytes(range(32)))
    return encoded(dataset)


def scanned(**attributes: Any) -> bytes:
    """A real CT with all that its scanner wrote, and what a test adds."""
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    del dataset[0xFFFCFFFC]
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return encoded(dataset)


def artificial() -> Iterator[tuple[str, bytes]]:
    """What simulators, generators and AI products write, with nothing of an acquisition beside it.

    The literal headers, with a label and as they are, and the examples of every marker that makes an object
    artificial.
    """
    literal = {"VICTRE": VICTRE, "DICOMator": DICOMATOR, "MONAI Deploy": MONAI_DEPLOY}
    for name, table in literal.items():
        yield f"{name}, labelled", completed(merged({"SyntheticData": "YES"}, table))
    for name, table in {**literal, **_examples()}.items():
        data = completed(table)
        if assessed(data).origin.may_be_labelled:
            yield name, data


def imitations() -> Iterator[tuple[str, bytes]]:
    """The same in objects that hold all that a CT scanner writes, as simulators and AI products copy it.

    One marker alone tells each from an acquisition, in an attribute that some tool removes.
    """
    for name, table in _examples().items():
        data = completed(merged(table, REAL_CT))
        if assessed(data).origin.may_be_labelled:
            yield name, data


def _examples() -> dict[str, Table]:
    return {
        f"{marker.id}, example {number}": dict(table)
        for marker in shipped().markers
        if marker.axis is Axis.ORIGIN
        for number, table in enumerate(marker.match, 1)
    }
