"""DICOM objects for tests: made with pydicom, bundled with it, and real ones where the folder is present."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pydicom.data
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN)
SC_IMAGE = "1.2.840.10008.5.1.4.1.1.7"

_PROJECT = Path(__file__).resolve().parents[2]
_LARGEST_BUNDLED = 3_000_000
_NO_OBJECTS = frozenset((".py", ".pyc", ".json", ".txt", ".md", ".gz", ".icc", ".dump", ".typed"))


def encode(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """`dataset` as the bytes of a DICOM file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(SC_IMAGE)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def decode(data: bytes) -> Dataset:
    """The object in `data`, as pydicom reads it."""
    return pydicom.dcmread(BytesIO(data), force=True)


def image(**attributes: object) -> Dataset:
    """A small image with pixels, to which a test adds what it is about."""
    dataset = Dataset()
    dataset.SOPClassUID = SC_IMAGE
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality = "OT"
    dataset.Manufacturer = "ACME"
    dataset.PatientID = "4711"
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated = 8
    dataset.add_new(0x7FE00010, "OW", bytes(range(16)))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def real_files() -> list[Path]:
    """The real files, none where the folder (environment PROVENANCE_TEST_DATA) is absent."""
    folder = Path(os.environ.get("PROVENANCE_TEST_DATA", _PROJECT.parent / "shared" / "data"))
    return sorted((folder / "real").rglob("*.dcm"))


def bundled_files() -> list[Path]:
    """The files that come with pydicom, without the few large ones."""
    return [
        path
        for path in all_bundled_files()
        if path.suffix == ".dcm" and path.stat().st_size < _LARGEST_BUNDLED
    ]


def all_bundled_files() -> list[Path]:
    """All files that come with pydicom and may hold an object: large ones and broken ones too."""
    folder = Path(pydicom.data.__file__).parent
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in _NO_OBJECTS)
