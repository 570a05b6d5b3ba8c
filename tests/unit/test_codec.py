"""What Orthanc is asked to transcode, and what it is never asked because that may end it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from dicom_samples import DEFLATED, EXPLICIT, IMPLICIT, JPEG_2000, encode, image

from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.errors import NotEncodable
from orthanc_provenance.host.codec import OrthancCodec

JPEG_LOSSLESS, JPEG_LS, RLE = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


class Sdk:
    """The calls of the `orthanc` module that a codec makes; `asked` holds the syntaxes."""

    OrthancException = RuntimeError

    def __init__(self, *plugins: str) -> None:
        self._plugins = plugins
        self.asked: list[str] = []

    def RestApiGet(self, path: str) -> bytes:
        if path == "/plugins":
            return json.dumps(self._plugins).encode()
        raise self.OrthancException(path)

    def TranscodeDicomInstance(self, data: bytes, syntax: str) -> Any:
        self.asked.append(syntax)
        return SimpleNamespace(GetInstanceData=lambda: data)


def transcode(
    sdk: Sdk, syntax: str, stored: str = EXPLICIT, order: str = "Before", **values: object
) -> bytes:
    header = read_header(encode(image(SamplesPerPixel=1, **values), EXPLICIT))
    header.transfer_syntax = stored
    return OrthancCodec(sdk, {"BuiltinDecoderTranscoderOrder": order}).transcode(b"", header, syntax)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, JPEG_LOSSLESS])
@pytest.mark.parametrize(("plugins", "order"), [(("gdcm",), "Before"), ((), "After")])
def test_orthancs_own_codecs_are_asked(syntax: str, plugins: tuple[str, ...], order: str) -> None:
    sdk = Sdk(*plugins)
    transcode(sdk, syntax, order=order)
    assert sdk.asked == [syntax]


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, JPEG_LOSSLESS])
def test_nothing_is_transcoded_where_gdcm_comes_first(syntax: str, caplog: pytest.LogCaptureFixture) -> None:
    sdk = Sdk("gdcm")
    with pytest.raises(NotEncodable):
        transcode(sdk, syntax, order="After")
    assert sdk.asked == []
    assert "BuiltinDecoderTranscoderOrder" in caplog.text


@pytest.mark.parametrize(
    ("syntax", "stored", "values"),
    [
        *((syntax, EXPLICIT, {}) for syntax in (JPEG_2000, JPEG_LS, RLE, JPEG_BASELINE, "9.9")),
        *((EXPLICIT, stored, {}) for stored in (JPEG_2000, "1.2.840.10008.1.2.4.102", "9.9")),
        (JPEG_LOSSLESS, EXPLICIT, {"BitsAllocated": 1}),
        (JPEG_LOSSLESS, EXPLICIT, {"SamplesPerPixel": 3}),
    ],
)
def test_what_gdcm_would_have_to_do_is_not_asked_for(
    syntax: str, stored: str, values: dict[str, object]
) -> None:
    sdk = Sdk("gdcm")
    header = read_header(encode(image(**{"SamplesPerPixel": 1, **values}), EXPLICIT))
    header.transfer_syntax = stored
    with pytest.raises(NotEncodable):
        OrthancCodec(sdk, {"BuiltinDecoderTranscoderOrder": "Before"}).transcode(b"", header, syntax)
    assert sdk.asked == []


def test_a_picture_that_orthanc_does_not_make_is_told() -> None:
    codec = OrthancCodec(Sdk(), {})
    with pytest.raises(NotEncodable, match="frame 3"):
        codec.render("instance", 3, (40.0, 400.0), 100)
    assert codec.stored_syntax("instance") == ""
