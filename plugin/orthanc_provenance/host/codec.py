"""What Orthanc can make of a stored object: another transfer syntax, or a picture.

Orthanc asks its GDCM plugin, where that is loaded, before its own DCMTK, unless
`BuiltinDecoderTranscoderOrder` is "Before". Debian's GDCM ends the whole process where one of its
assertions does not hold: measured on real objects, over overlays, and as it writes JPEG-LS, RLE Lossless or
Deflated Explicit VR. No download may end a clinical server, so that only what DCMTK does is transcoded.
Syntaxes with loss are not written at all: the result is another image, with a SOP Instance UID of its own,
which nobody has assessed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from ..dicom.header import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Header
from ..errors import NotEncodable

log = logging.getLogger(__name__)

_NATIVE = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED))
_JPEG = "1.2.840.10008.1.2.4"
_JPEG_LOSSLESS = frozenset((f"{_JPEG}.57", f"{_JPEG}.70"))
_OTHERS = frozenset((f"{_JPEG}.50", f"{_JPEG}.51", f"{_JPEG}.80", f"{_JPEG}.81", "1.2.840.10008.1.2.5"))
_SOURCES = _NATIVE | _JPEG_LOSSLESS | _OTHERS
_SAMPLES_PER_PIXEL, _BITS_ALLOCATED = 0x00280002, 0x00280100


class OrthancCodec:
    """Implements `doors.services.Codec` with the `orthanc` module; `configuration` is that of Orthanc."""

    def __init__(self, orthanc: Any, configuration: Mapping[str, Any]) -> None:
        self._orthanc = orthanc
        self._own_first = configuration.get("BuiltinDecoderTranscoderOrder", "After") == "Before"
        self._gdcm_enabled = configuration.get("Gdcm", {}).get("Enable", True) is not False
        self._transcodes: bool | None = None

    def stored_syntax(self, instance: str) -> str:
        """What Orthanc noted as it stored the instance, "" where it holds it no more."""
        try:
            return str(
                self._orthanc.RestApiGet(f"/instances/{instance}/metadata/TransferSyntax").decode("ascii")
            )
        except self._orthanc.OrthancException:
            return ""

    def transcode(self, data: bytes, header: Header, syntax: str) -> bytes:
        """The object in another syntax, by the SDK's own call. Raises NotEncodable."""
        source = header.transfer_syntax
        if not self._may_transcode() or not _is_safe(header, source, syntax):
            raise NotEncodable(f"nothing like this is transcoded from {source} to {syntax}")
        try:
            found: bytes = self._orthanc.TranscodeDicomInstance(data, syntax).GetInstanceData()
        except self._orthanc.OrthancException as problem:
            raise NotEncodable(f"Orthanc cannot transcode this from {source} to {syntax}") from problem
        return found

    def render(
        self, instance: str, frame: int, window: tuple[float, float] | None, size: int | None
    ) -> bytes:
        """One frame by the SDK's built-in REST API. Raises NotEncodable."""
        asked = []
        if window is not None:
            asked += [f"window-center={window[0]:.6g}", f"window-width={window[1]:.6g}"]
        if size is not None:
            asked += [f"width={size}", f"height={size}", "smooth=1"]
        path = f"/instances/{instance}/frames/{frame - 1}/rendered"
        try:
            found: bytes = self._orthanc.RestApiGet(f"{path}?{'&'.join(asked)}" if asked else path)
        except self._orthanc.OrthancException as problem:
            raise NotEncodable(f"Orthanc shows no picture of frame {frame} of this object") from problem
        return found

    def _may_transcode(self) -> bool:
        """Whether DCMTK is asked first; Orthanc can tell which plugins it has only once it has started."""
        if self._transcodes is None:
            loaded = json.loads(self._orthanc.RestApiGet("/plugins"))
            self._transcodes = self._own_first or not (self._gdcm_enabled and "gdcm" in loaded)
            if not self._transcodes:
                advice = 'set "BuiltinDecoderTranscoderOrder": "Before"'
                log.warning("research gets objects only as they are stored: GDCM would transcode; %s", advice)
        return self._transcodes


def _is_safe(header: Header, source: str, syntax: str) -> bool:
    """Whether DCMTK can do it: what it cannot, Orthanc would hand on to GDCM."""
    if source not in _SOURCES:
        return False
    if syntax in _NATIVE:
        return True
    gray = header.integers(_SAMPLES_PER_PIXEL) == (1,) and header.integers(_BITS_ALLOCATED) in ((8,), (16,))
    return syntax in _JPEG_LOSSLESS and gray
