from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from dicom_samples import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    decode,
    encode,
    image,
    real_files,
)
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments

from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.encode import encode_element
from orthanc_provenance.dicom.header import Header, read_header
from orthanc_provenance.errors import HeaderError

PIXELS = bytes(range(16))


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(dataset: Dataset, syntax: str = EXPLICIT) -> str:
    return pixel_digest(read_header(encode(dataset, syntax)))


def encapsulated(value: bytes) -> Dataset:
    dataset = image()
    dataset.add_new(0x7FE00010, "OB", value)
    dataset[0x7FE00010].is_undefined_length = True
    return dataset


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_native_pixels_are_hashed_as_they_are_encoded(syntax: str) -> None:
    assert digest_of(image(), syntax) == sha256(PIXELS)


def test_the_rest_of_the_object_does_not_matter() -> None:
    assert digest_of(image(PatientID="other", ImageType=["DERIVED"])) == digest_of(image())


def test_what_follows_the_pixels_does_not_matter() -> None:
    dataset = image()
    dataset.add_new(0xFFFCFFFC, "OB", b"padding!")

    assert digest_of(dataset) == sha256(PIXELS)


@pytest.mark.parametrize(("tag", "vr"), [(0x7FE00008, "OF"), (0x7FE00009, "OD")])
def test_float_pixels_are_hashed(tag: int, vr: str) -> None:
    dataset = image()
    del dataset[0x7FE00010]
    dataset.add_new(tag, vr, PIXELS)

    assert digest_of(dataset) == sha256(PIXELS)


def test_pixels_cannot_be_hidden_behind_others() -> None:
    dataset = image()
    dataset.add_new(0x7FE00008, "OF", bytes(16))

    with pytest.raises(HeaderError, match="more than one"):
        digest_of(dataset)


BEHIND = {
    "other pixels": (0x7FE00010, b"OW", bytes(16)),
    "a label": (0x0008001C, b"CS", b"YES "),
    "the same tag again": (0xFFFCFFFC, b"OB", b"again!"),
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_nothing_stands_behind_the_pixels_that_only_some_readers_see(behind: str, syntax: str) -> None:
    tag, vr, value = BEHIND[behind]
    dataset = image()
    dataset.add_new(0xFFFCFFFC, "OB", b"padding!")
    header = read_header(encode(dataset, syntax))
    added = encode_element(tag, vr, value, header.encoding)

    with pytest.raises(HeaderError, match="repeat or descend"):
        pixel_digest(Header(header.buffer + added, header.dataset_start, syntax, header.meta))


@pytest.mark.parametrize("size", [1, 7])
def test_bytes_behind_the_pixels_that_are_no_element_are_refused(size: int) -> None:
    with pytest.raises(HeaderError, match="no element"):
        pixel_digest(read_header(encode(image()) + bytes(size)))


def two_frames(basic: list[int], extended: list[int], lengths: list[int]) -> Dataset:
    """Two frames of one fragment each, at 0 and 58, with these offset tables."""
    dataset = encapsulated(encapsulate([bytes(50), bytes(range(50))], has_bot=False))
    table = struct.pack(f"<HHI{len(basic)}I", 0xFFFE, 0xE000, 4 * len(basic), *basic)
    dataset[0x7FE00010].value = table + dataset.PixelData[8:]
    for tag, numbers in ((0x7FE00001, extended), (0x7FE00002, lengths)):
        if numbers:
            dataset.add_new(tag, "OV", struct.pack(f"<{len(numbers)}Q", *numbers))
    return dataset


@pytest.mark.parametrize(
    ("basic", "extended", "lengths"),
    [([], [], []), ([0, 58], [], []), ([0], [], []), ([], [0, 58], [50, 50]), ([], [0, 58], [50, 49])],
)
def test_offset_tables_that_lead_from_frame_to_frame_do_not_matter(
    basic: list[int], extended: list[int], lengths: list[int]
) -> None:
    expected = sha256(bytes(50) + bytes(range(50)))

    assert digest_of(two_frames(basic, extended, lengths), JPEG_2000) == expected


@pytest.mark.parametrize(
    ("basic", "extended", "lengths"),
    [
        ([58, 0], [], []),
        ([0, 0], [], []),
        ([58], [], []),
        ([0, 60], [], []),
        ([], [58, 0], [50, 50]),
        ([], [58, 58], [50, 50]),
        ([], [0, 58], [50, 40]),
        ([], [0, 58], [50]),
    ],
)
def test_offset_tables_that_show_other_frames_are_refused(
    basic: list[int], extended: list[int], lengths: list[int]
) -> None:
    with pytest.raises(HeaderError, match=r"(offset table|Offset Table Lengths)"):
        digest_of(two_frames(basic, extended, lengths), JPEG_2000)


def test_an_offset_table_that_is_cut_is_refused() -> None:
    dataset = two_frames([], [], [])
    dataset.add_new(0x7FE00001, "OV", bytes(9) + b"\0")

    with pytest.raises(HeaderError, match="no list of numbers"):
        digest_of(dataset, JPEG_2000)


def test_fragmentation_and_offset_table_do_not_matter() -> None:
    stream = bytes(range(200))
    cuts = [
        encapsulate([stream], has_bot=True),
        encapsulate([stream], has_bot=False),
        encapsulate([stream], fragments_per_frame=4),
        encapsulate([stream[:50], stream[50:]], has_bot=True),
    ]

    assert {digest_of(encapsulated(value), JPEG_2000) for value in cuts} == {sha256(stream)}


def test_an_object_without_pixels_has_no_digest() -> None:
    dataset = image()
    del dataset[0x7FE00010]

    assert digest_of(dataset) == ""


def test_empty_pixels_have_no_digest_that_all_empty_objects_would_share() -> None:
    dataset = image()
    dataset[0x7FE00010].value = b""

    assert digest_of(dataset) == ""
    assert digest_of(encapsulated(encapsulate([b"ab"], has_bot=False)[:8]), JPEG_2000) == ""


def test_cut_off_pixels_are_refused() -> None:
    data = encode(image())
    with pytest.raises(HeaderError, match="cut off"):
        pixel_digest(read_header(data[:-2]))


def test_encapsulated_pixels_without_any_item_are_refused() -> None:
    data = encode(encapsulated(encapsulate([b"ab"], has_bot=False)), JPEG_2000)
    items = struct.pack("<HHIHHI2s", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, 2, b"ab")
    assert items in data

    with pytest.raises(HeaderError, match="Basic Offset Table"):
        pixel_digest(read_header(data.replace(items, b"")))


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.stem)
def test_real_objects_have_the_digest_of_what_pydicom_finds(path: Path) -> None:
    data = path.read_bytes()
    dataset = decode(data)
    if "PixelData" not in dataset:
        expected = ""
    elif dataset["PixelData"].is_undefined_length:
        fragments = list(generate_fragments(dataset.PixelData))
        expected = sha256(b"".join(fragments[1:]))
    else:
        expected = sha256(dataset.PixelData)

    assert pixel_digest(read_header(data)) == expected
