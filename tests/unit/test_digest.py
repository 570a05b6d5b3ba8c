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
from orthanc_provenance.dicom.header import read_header
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
