"""A codec for tests, made with pydicom and Pillow: it transcodes between two syntaxes, and renders gray."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pydicom
from dicom_samples import EXPLICIT, IMPLICIT
from PIL import Image
from pydicom.uid import UID

from orthanc_provenance.dicom.header import Header
from orthanc_provenance.errors import NotEncodable


class Toolkit:
    """Implements `doors.services.Codec`; `stored` gives the bytes of an instance."""

    def __init__(self) -> None:
        self.stored: Callable[[str], bytes] = lambda _instance: b""
        self.rendered: list[tuple[int, tuple[float, float] | None, int | None]] = []

    def stored_syntax(self, instance: str) -> str:
        return str(pydicom.dcmread(BytesIO(self.stored(instance))).file_meta.TransferSyntaxUID)

    def transcode(self, data: bytes, header: Header, syntax: str) -> bytes:
        if {header.transfer_syntax, syntax} - {IMPLICIT, EXPLICIT}:
            raise NotEncodable("only little endian")
        dataset = pydicom.dcmread(BytesIO(data))
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        out = BytesIO()
        dataset.save_as(out, implicit_vr=syntax == IMPLICIT, little_endian=True, enforce_file_format=True)
        return out.getvalue()

    def render(
        self, instance: str, frame: int, window: tuple[float, float] | None, size: int | None
    ) -> bytes:
        dataset = pydicom.dcmread(BytesIO(self.stored(instance)))
        if "PixelData" not in dataset or frame > int(dataset.get("NumberOfFrames", 1)):
            raise NotEncodable("no such picture")
        self.rendered.append((frame, window, size))
        out = BytesIO()
        Image.new("L", (dataset.Columns, dataset.Rows), 128).save(out, "PNG")
        return out.getvalue()
