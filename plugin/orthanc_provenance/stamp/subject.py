"""What the statement of one object is about: its pixels, or its data set where it has none.

An object without pixels is bound as a whole: its elements as they are encoded, in the order in which they
stand, without all that stamps add to it, so that stamping changes nothing. One statement cannot be carried
over to another report then; and a report whose header is changed on its way, as archives do when they correct
a name, carries a statement that no longer holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ..dicom.dataset import Dataset
from ..dicom.header import Header
from ..dicom.scan import Tag
from .block import CREATOR, DICTIONARY, GROUP
from .elements import (
    CONTRIBUTING_EQUIPMENT_SEQUENCE,
    MANUFACTURER,
    PRIVATE_CHARACTERISTICS_SEQUENCE,
    PRIVATE_CREATOR_REFERENCE,
    PRIVATE_GROUP_REFERENCE,
    SYNTHETIC_DATA,
)
from .statement import DATA_SET, PIXELS, Subject

_LENGTH_TO_END = 0x00080001
_MANUFACTURER = 0x00080070
_OUR_ITEM = frozenset((_MANUFACTURER, 0x00081090, 0x00181020, 0x0040A170))
_NUMBERS = frozenset(element.number for element in DICTIONARY)
_MAX_ITEMS = 10_000


def subject_of(header: Header, digest: str) -> Subject:
    """The subject of a statement on the object of `header`, whose `dicom.digest.pixel_digest` is `digest`.

    Raises HeaderTooLarge.
    """
    return Subject(PIXELS, digest) if digest else Subject(DATA_SET, data_set_digest(header))


def data_set_digest(header: Header) -> str:
    """The digest of a data set without its stamps, `sha256:` and 64 hexadecimal digits.

    Left out are SyntheticData, which a stamp may have added, our blocks, our Items in the Contributing
    Equipment and Private Data Element Characteristics Sequences, and lengths that count what a stamp adds.
    """
    view = memoryview(header.buffer)
    digest = hashlib.sha256()
    ours = _block_tags(header)
    for tag, element in header.elements.items():
        if tag in ours or tag in (SYNTHETIC_DATA, _LENGTH_TO_END) or not tag & 0xFFFF:
            continue
        if tag in (CONTRIBUTING_EQUIPMENT_SEQUENCE, PRIVATE_CHARACTERISTICS_SEQUENCE):
            for item in header.items(tag, _MAX_ITEMS):
                if not _is_ours(item):
                    _add_item(digest, tag, item)
        else:
            digest.update(view[element.start : element.end])
    digest.update(view[header.pixel_start :])
    return "sha256:" + digest.hexdigest()


def _add_item(digest: hashlib._Hash, tag: Tag, item: Dataset) -> None:
    parts = [item.buffer[element.start : element.end] for element in item.elements.values()]
    digest.update(tag.to_bytes(4, "big") + sum(map(len, parts)).to_bytes(4, "big"))
    digest.update(b"".join(parts))


def _is_ours(item: Dataset) -> bool:
    if item.text(PRIVATE_CREATOR_REFERENCE) == CREATOR:
        return item.integers(PRIVATE_GROUP_REFERENCE) == (GROUP,)
    return item.elements.keys() == _OUR_ITEM and item.text(_MANUFACTURER) == MANUFACTURER


def _block_tags(header: Header) -> frozenset[Tag]:
    return frozenset(_iterate_block_tags(header))


def _iterate_block_tags(header: Header) -> Iterator[Tag]:
    for creator in range((GROUP << 16) | 0x10, (GROUP << 16) | 0x100):
        if creator in header and header.text(creator) == CREATOR:
            yield creator
            for number in _NUMBERS:
                yield (GROUP << 16) | ((creator & 0xFF) << 8) | number
