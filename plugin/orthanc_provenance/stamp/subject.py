"""What the statement of one object is about: its pixels, or its data set where it has none.

An object without pixels is bound as a whole: its elements as they are encoded, in the order in which they
stand, without all that stamps add to it, so that stamping changes nothing. One statement cannot be carried
over to another report then; and a report whose header is changed on its way, as archives do when they correct
a name, carries a statement that no longer holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ..dicom.encode import IMPLICIT_LITTLE_ENDIAN, encode_items
from ..dicom.header import Header
from ..dicom.scan import Element, Encoding, Tag, item_bounds, scan_elements
from ..errors import HeaderError, StampError
from ..model import State
from .block import DICTIONARY, GENERATOR, GROUP, block_tag, read_stamps
from .elements import (
    CONTRIBUTING_EQUIPMENT_SEQUENCE,
    PRIVATE_CHARACTERISTICS_SEQUENCE,
    SAFE_BLOCK,
    SOFTWARE_VERSIONS,
    STATE_PREFIX,
    SYNTHETIC_DATA,
    UNLABELLED,
    equipment_item,
)
from .statement import DATA_SET, PIXELS, Subject

_LENGTH_TO_END = 0x00080001
_NUMBERS = tuple(element.number for element in DICTIONARY if element is not GENERATOR)
_STATES = frozenset(f"{STATE_PREFIX}{state.value}" for state in State)
_SHARED = (CONTRIBUTING_EQUIPMENT_SEQUENCE, PRIVATE_CHARACTERISTICS_SEQUENCE)
_SEQUENCES = (b"SQ", b"UN", b"")
_MAX_ITEMS = 10_000
_MAX_OURS = 1024
"""Bytes that no Item of ours exceeds: three values of at most 64 characters, and what never changes."""
_ITEM_HEAD = 8


def subject_of(header: Header, digest: str) -> Subject:
    """The subject of a statement on the object of `header`, whose `dicom.digest.pixel_digest` is `digest`."""
    return Subject(PIXELS, digest) if digest else Subject(DATA_SET, data_set_digest(header))


def data_set_digest(header: Header) -> str:
    """The digest of a data set without its stamps, `sha256:` and 64 hexadecimal digits.

    Left out are SyntheticData, which a stamp may have added and its statement names, our blocks, our Items in
    the Contributing Equipment and Private Data Element Characteristics Sequences, and lengths that count what
    a stamp adds. An Item is ours where it is what a stamp writes, byte for byte: nothing hides in it.
    """
    view = memoryview(header.buffer)
    digest = hashlib.sha256()
    ours = _block_tags(header)
    for tag, element in header.elements.items():
        if tag in ours or tag in (SYNTHETIC_DATA, _LENGTH_TO_END) or not tag & 0xFFFF:
            continue
        if tag in _SHARED and element.vr in _SEQUENCES:
            rest = b"".join(_without_ours(header, tag, element))
            # A stamp adds the whole sequence where there is none.
            if rest:
                digest.update(tag.to_bytes(4, "big") + len(rest).to_bytes(4, "big") + element.vr + rest)
        else:
            digest.update(view[element.start : element.end])
    digest.update(view[header.pixel_start :])
    return "sha256:" + digest.hexdigest()


def _without_ours(header: Header, tag: Tag, element: Element) -> Iterator[bytes]:
    """The value of a sequence in pieces, without the Items of ours; all of it where it is malformed."""
    buffer, position = header.buffer, element.value
    for start, end in _items(header, element):
        ours = _written_by_us(header, tag, element, start, end)
        if ours and ours == buffer[start - _ITEM_HEAD : end]:
            yield buffer[position : start - _ITEM_HEAD]
            position = end
    yield buffer[position : element.end]


def _items(header: Header, element: Element) -> tuple[tuple[int, int], ...]:
    """Start and end of each Item; none where one of them, or the sequence, is malformed."""
    try:
        return tuple(item_bounds(header.buffer, element, _encoding(header, element), _MAX_ITEMS))
    except HeaderError:
        return ()


def _encoding(header: Header, element: Element) -> Encoding:
    # PS3.5 section 6.2.2: a Sequence whose VR was not known is Implicit VR Little Endian inside.
    return IMPLICIT_LITTLE_ENDIAN if element.vr == b"UN" else header.encoding


def _written_by_us(header: Header, tag: Tag, element: Element, start: int, end: int) -> bytes:
    """The Item that a stamp would have written in place of the one whose value is `start` to `end`."""
    encoding = _encoding(header, element)
    if tag == PRIVATE_CHARACTERISTICS_SEQUENCE:
        return encode_items((SAFE_BLOCK,), encoding)
    if end - start > _MAX_OURS:
        return b""
    try:
        found = scan_elements(header.buffer, start, end, encoding).elements.get(SOFTWARE_VERSIONS)
        value = b"" if found is None else header.buffer[found.value : found.end]
        versions = tuple(value.decode("ascii").rstrip(" ").split("\\"))
        words = versions[2:]
        if not words or words[0] not in _STATES or words[1:] not in ((), (UNLABELLED,)):
            return b""
        return encode_items((equipment_item(versions),), encoding)
    except (HeaderError, StampError, UnicodeDecodeError):
        return b""


def _block_tags(header: Header) -> frozenset[Tag]:
    """The tags that stamps take; others in their blocks are no part of a stamp."""
    return frozenset(
        tag
        for stamp in read_stamps(header)
        for tag in ((GROUP << 16) | stamp.block, *(block_tag(stamp.block, number) for number in _NUMBERS))
    )
