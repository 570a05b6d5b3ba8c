"""CT images to send: 512x512, 16 bit, 0.5 MB, a header like a scanner's, each with UIDs of its own."""

from __future__ import annotations

import io
import itertools
import uuid
from collections.abc import Iterator

import numpy
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian

_SOP = "1.2.826.0.1.3680043.10.0000000001"
_SERIES = "1.2.826.0.1.3680043.10.0000000002"
_STUDY = "1.2.826.0.1.3680043.10.0000000003"


def ct_template() -> bytes:
    """One CT file (PS3.10) whose UIDs `numbered` replaces by others of the same length."""
    image = dcmread(str(get_testdata_file("CT_small.dcm")))
    pixels = numpy.random.default_rng(1).normal(0, 200, (512, 512)).astype("<i2")
    image.Rows, image.Columns, image.PixelData = 512, 512, pixels.tobytes()
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = _STUDY, _SERIES, _SOP
    image.file_meta.MediaStorageSOPInstanceUID = _SOP
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def with_elements(template: bytes, count: int) -> bytes:
    """The image of `template` with private elements added until its data set has `count`."""
    image = dcmread(io.BytesIO(template))
    block = image.private_block(0x0B01, "BENCH", create=True)
    for number in range(count - len(image)):
        block.add_new(number, "LO", "FILLING")
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def multi_frame(size: int) -> bytes:
    """One CT file of about `size` bytes, with as many frames of 512x512 and 16 bit as that takes."""
    image = dcmread(io.BytesIO(ct_template()))
    image.NumberOfFrames = size // len(image.PixelData)
    image.PixelData = image.PixelData * int(image.NumberOfFrames)
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def numbered(template: bytes, per_study: int = 200) -> Iterator[bytes]:
    """Endlessly many images in studies of `per_study`, never the same UID in two runs."""
    run = f"1.2.826.0.1.3680043.10.{uuid.uuid4().int % 10**9:09d}"
    for number in itertools.count():
        study = run[:-9] + f"{(int(run[-9:]) + number // per_study) % 10**9:09d}"
        # All three keep the length of the placeholder, so that no other byte of the file changes.
        yield (
            template.replace(_SOP.encode(), _sop(study, number).encode())
            .replace(_SERIES.encode(), f"{study}2".encode())
            .replace(_STUDY.encode(), f"{study}3".encode())
        )


def _sop(study: str, number: int) -> str:
    head = study[: len(_SOP) - 10]
    return head + f"{(int(study[-9:]) * 1009 + number) % 10**9 + 10**9:010d}"
