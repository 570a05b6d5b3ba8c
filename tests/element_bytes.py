"""Two files compared element by element, as bytes: what a stamp added, and that it changed nothing else.

The files are cut by pydicom, which knows nothing of the plugin's own reader and splice.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import data_element_generator
from pydicom.uid import DeflatedExplicitVRLittleEndian

SYNTHETIC_DATA = 0x0008001C
PRIVATE_CHARACTERISTICS = 0x00080300
CONTRIBUTING_EQUIPMENT = 0x0018A001
PIXEL_DATA = 0x7FE00010
PRIVATE_GROUP = 0x0099
CREATOR = "IMAGE PROVENANCE 1.0"
_ITEM_DELIMITER_SIZE = 8
_HEADERS = {"explicit": 12, "implicit": 8}


class Cut(NamedTuple):
    """A file in pieces that make it up again: `head` is preamble and file meta information.

    `elements` holds the bytes of each top-level element, header and delimiters included, by tag in the order
    of the file; those of a deflated file are inflated.
    """

    head: bytes
    elements: dict[int, bytes]
    little_endian: bool
    header_size: int
    dataset: Dataset

    @property
    def is_stamped(self) -> bool:
        """Whether a private block of ours is there."""
        return CREATOR in self.dataset.private_creators(PRIVATE_GROUP)


def cut(data: bytes) -> Cut:
    """Cut a file. Fails where pydicom does not account for every byte of it."""
    dataset = dcmread(io.BytesIO(data), force=True)
    implicit, little = dataset.original_encoding
    assert implicit is not None
    assert little is not None
    start = _start(data)
    body = data[start:]
    if dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        body = zlib.decompress(body, -zlib.MAX_WBITS)
    file = DicomBytesIO(body)
    elements: dict[int, bytes] = {}
    before = 0
    for element in data_element_generator(file, implicit, little):
        assert int(element.tag) not in elements, f"{element.tag} is there twice"
        elements[int(element.tag)] = body[before : file.tell()]
        before = file.tell()
    assert before == len(body), f"{len(body) - before} bytes are no element"
    header_size = _HEADERS["implicit" if implicit else "explicit"]
    return Cut(data[:start], elements, little, header_size, dataset)


def _start(data: bytes) -> int:
    """Where the Data Set begins (PS3.10 section 7.1); some old files have nothing, or not all, before it."""
    start = 132 if data[128:132] == b"DICM" else 0
    file = DicomBytesIO(data)
    file.seek(start)
    for _ in data_element_generator(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2):
        start = file.tell()
    return start


def differences(stamped: bytes, bare: bytes, *, synthetic: bool) -> list[str]:
    """What is wrong with `stamped`, the file that `bare` became by a stamp; [] where nothing is.

    `synthetic` says whether SyntheticData may (and where it was missing, must) be among the additions.
    """
    return compared(cut(stamped), cut(bare), synthetic=synthetic)


def compared(ours: Cut, theirs: Cut, *, synthetic: bool) -> list[str]:
    """As `differences`, of files that are cut already."""
    return [*_unlike(ours, theirs), *_additions(ours, theirs, synthetic), *_group_lengths(ours, theirs)]


def _unlike(ours: Cut, theirs: Cut) -> Iterator[str]:
    """Whatever differs in what both have."""
    if ours.head != theirs.head:
        yield "the file meta information differs"
    if [tag for tag in ours.elements if tag in theirs.elements] != list(theirs.elements):
        yield "elements are missing or in another order"
    grown = {
        tag >> 16
        for tag, after in ours.elements.items()
        if tag & 0xFFFF and after != theirs.elements.get(tag)
    }
    for tag, before in theirs.elements.items():
        after = ours.elements.get(tag, b"")
        grows = tag in (PRIVATE_CHARACTERISTICS, CONTRIBUTING_EQUIPMENT)
        # Whether it is right is another question.
        counts = not tag & 0xFFFF and tag >> 16 in grown and after[:-4] == before[:-4]
        if after != before and not counts and not (grows and _is_longer(after, before, ours)):
            yield f"({tag >> 16:04X},{tag & 0xFFFF:04X}) differs"


def _is_longer(after: bytes, before: bytes, ours: Cut) -> bool:
    """Whether a sequence is as it was, and only more follows its last item."""
    size = ours.header_size
    undefined = before[size - 4 : size] == b"\xff\xff\xff\xff"
    items = before[size : -_ITEM_DELIMITER_SIZE if undefined else len(before)]
    if after[: size - 4] != before[: size - 4] or not after[size:].startswith(items):
        return False
    order = "little" if ours.little_endian else "big"
    return undefined or int.from_bytes(after[size - 4 : size], order) == len(after) - size


def _additions(ours: Cut, theirs: Cut, synthetic: bool) -> Iterator[str]:
    """Whatever is there more, or less, than a stamp is."""
    added = [tag for tag in ours.elements if tag not in theirs.elements]
    if (SYNTHETIC_DATA in added) != (synthetic and SYNTHETIC_DATA not in theirs.elements):
        yield f"SyntheticData is {'' if SYNTHETIC_DATA in added else 'not '}among the additions"
    for tag in added:
        public = tag in (SYNTHETIC_DATA, PRIVATE_CHARACTERISTICS, CONTRIBUTING_EQUIPMENT)
        if not public and tag >> 16 != PRIVATE_GROUP:
            yield f"({tag >> 16:04X},{tag & 0xFFFF:04X}) was added"
    # A copy that lost the private block may still have the word that the block is safe.
    declared = any(
        item.get("PrivateCreatorReference") == CREATOR for item in _items(theirs, PRIVATE_CHARACTERISTICS)
    )
    for tag, new in ((PRIVATE_CHARACTERISTICS, 0 if declared else 1), (CONTRIBUTING_EQUIPMENT, 1)):
        before, after = len(_items(theirs, tag)), len(_items(ours, tag))
        if after != before + new:
            yield f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has {after} items, not {before} and {new} more"
    if ours.dataset.private_creators(PRIVATE_GROUP) != [
        *theirs.dataset.private_creators(PRIVATE_GROUP),
        CREATOR,
    ]:
        yield "the private creators are not those that were there, and ours"


def _items(found: Cut, sequence: int) -> list[Dataset]:
    return list(found.dataset[sequence].value) if sequence in found.dataset else []


def _group_lengths(ours: Cut, theirs: Cut) -> Iterator[str]:
    """Group Lengths that do not say how long the rest of a group is that has grown (PS3.5 section 7.2)."""
    for tag in ours.elements:
        if not tag & 0xFFFF:
            group = tag >> 16
            before, rest = (
                b"".join(raw for each, raw in some.elements.items() if each >> 16 == group and each != tag)
                for some in (theirs, ours)
            )
            if rest != before and ours.dataset[tag].value != len(rest):
                yield f"({group:04X},0000) says {ours.dataset[tag].value}, and {len(rest)} bytes follow"
