from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import pytest
from dicom_samples import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG_2000, encode, image
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from orthanc_provenance.dicom.dataset import Dataset as View
from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.encode import NewElement
from orthanc_provenance.dicom.header import Header, read_header
from orthanc_provenance.dicom.splice import splice
from orthanc_provenance.errors import HeaderError, StampError
from orthanc_provenance.model import Assessment, Origin
from orthanc_provenance.stamp.apply import apply
from orthanc_provenance.stamp.block import Stamp, read_stamp
from orthanc_provenance.stamp.signatures import signed_tags


def rich(syntax: str) -> bytes:
    """An object with everything that a reader may stumble over: nesting, character sets, private blocks."""
    inner = Dataset()
    inner.CodeValue = "109103"
    inner.is_undefined_length_sequence_item = True
    item = Dataset()
    item.Manufacturer = "SCANNER"
    item.PurposeOfReferenceCodeSequence = [inner]
    item["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    dataset = image(ContributingEquipmentSequence=[item], ProtocolName="P", ImageType=["ORIGINAL", "PRIMARY"])
    dataset["ContributingEquipmentSequence"].is_undefined_length = True
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.add_new(0x00090010, "LO", "ACME")
    dataset.add_new(0x00091001, "UN", b"\x1b$B1234\x1b(B")
    if syntax == JPEG_2000:
        dataset[0x7FE00010].value = encapsulate([bytes(40), bytes(20)])
        dataset[0x7FE00010].VR = "OB"
        dataset[0x7FE00010].is_undefined_length = True
    data = encode(dataset, syntax)
    return apply(read_header(data), Assessment(Origin.AI_GENERATED), "1") or data


SAMPLES = {syntax: rich(syntax) for syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, JPEG_2000)}
DATASET_START = 132 + 12


def walk(view: View, depth: int = 0) -> None:
    """Read every element in every way."""
    for tag in view.elements:
        view.texts(tag)
        view.text(tag)
        view.whole_text(tag)
        view.integers(tag)
        view.integers(tag, 4)
        if depth < 6:
            for item in view.items(tag, limit=8):
                walk(item, depth + 1)
    view.private("ACME", 0x0009, 0x01)


def use(data: bytes) -> None:
    """All that a received object goes through; only the two documented errors may come out."""
    try:
        header = read_header(data)
    except HeaderError:
        return
    walk(header)
    assert isinstance(read_stamp(header), Stamp | None)
    for step in (pixel_digest, signed_tags, stamp_it):
        with suppress(HeaderError, StampError):
            step(header)


def stamp_it(header: Header) -> None:
    apply(header, Assessment(Origin.SIMULATED), "1")


_sample = st.sampled_from(sorted(SAMPLES))
_edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "drop", "insert"]), st.binary(max_size=8)
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=600, deadline=None)
@given(_sample, _edits)
def test_mutated_objects_are_read_or_refused(syntax: str, edits: list[tuple[float, str, bytes]]) -> None:
    data = bytearray(SAMPLES[syntax])
    for where, how, what in edits:
        at = DATASET_START + int(where * max(len(data) - DATASET_START, 0))
        if how == "set":
            data[at : at + len(what)] = what
        elif how == "drop":
            del data[at : at + len(what)]
        else:
            data[at:at] = what
    use(bytes(data))


@settings(max_examples=200, deadline=None)
@given(_edits)
def test_mutated_data_sets_inside_a_deflated_object_are_read_or_refused(
    edits: list[tuple[float, str, bytes]],
) -> None:
    whole = read_header(SAMPLES[DEFLATED])
    body = bytearray(whole.buffer[whole.dataset_start :])
    for where, _, what in edits:
        at = int(where * len(body))
        body[at : at + len(what)] = what
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    use(whole.buffer[: whole.dataset_start] + deflater.compress(bytes(body)) + deflater.flush())


@pytest.mark.parametrize("syntax", sorted(SAMPLES))
def test_truncated_objects_are_read_or_refused(syntax: str) -> None:
    data = SAMPLES[syntax]
    for length in range(len(data)):
        use(data[:length])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_read_or_refused(data: bytes, with_prefix: bool) -> None:
    use(bytes(128) + b"DICM" + data if with_prefix else data)


@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
def test_endless_nesting_is_refused_without_recursion(vr: bytes) -> None:
    open_sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, vr, 0, 0xFFFFFFFF)
    open_item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    data = encode(image())
    at = read_header(data).elements[0x00080060].start

    with pytest.raises(HeaderError):
        read_header(data[:at] + (open_sequence + open_item) * 100_000 + data[at:])


@pytest.mark.parametrize(
    "name",
    [b"zlib_codec", b"hex", b"idna", b"undefined", b"punycode", b"I\0S", b"\xe9", b"ISO_IR 192\\rot13"],
)
def test_names_that_are_no_character_set_are_read_around(name: bytes) -> None:
    odd = {
        0x00080005: NewElement(b"CS", name),
        0x00091001: NewElement(b"UN", b"A\xe9\x1b$)C\xc0\xc0"),
    }

    header = read_header(splice(read_header(encode(image())), odd))

    assert header.text(0x00091001).startswith("A")


def test_a_misspelt_character_set_is_understood() -> None:
    odd = {0x00080005: NewElement(b"CS", b"ISO IR 192"), 0x00091001: NewElement(b"LO", "zwölf".encode())}

    assert read_header(splice(read_header(encode(image())), odd)).text(0x00091001) == "zwölf"


def test_the_samples_themselves_are_stamped() -> None:
    for data in SAMPLES.values():
        header = read_header(data)
        stamp = read_stamp(header)
        assert stamp is not None
        assert stamp.origin is Origin.AI_GENERATED
        assert len(splice(header, {})) > 0
