"""Encoding new Data Elements and Items as PS3.5 section 7 has them."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from ..errors import StampError
from .dataset import tag_name
from .scan import ITEM, LONG_VRS, UNDEFINED, Encoding, Tag

IMPLICIT_LITTLE_ENDIAN = Encoding(explicit=False, little=True)
_TEXT = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())
_NUL_PADDED = frozenset((b"UI", b"OB", b"UN"))
_INTEGERS = {b"US": "H", b"UL": "I"}


class NewElement(NamedTuple):
    """A Data Element to be written: its VR and its value.

    The value is encoded bytes, one integer (for US and UL, which follow the byte order of the object), or,
    for SQ, Items.
    """

    vr: bytes
    value: bytes | int | tuple[Item, ...]


Item = tuple[tuple[Tag, NewElement], ...]
"""The elements of one Sequence Item, with ascending tags."""


def encode_element(tag: Tag, vr: bytes, value: bytes, encoding: Encoding) -> bytes:
    """One Data Element of defined length (PS3.5 section 7.1.2 and 7.1.3), its value padded to even length.

    Text is padded with a space, UI, OB and UN with NUL (PS3.5 section 6.2). Raises StampError where an odd
    value of another VR would have to be padded, or where the value is too long for its length field.
    """
    if len(value) % 2:
        if vr not in _TEXT and vr not in _NUL_PADDED:
            raise StampError(f"{tag_name(tag)}: a value of {len(value)} bytes is no {vr.decode('ascii')}")
        value += b" " if vr in _TEXT else b"\0"
    order = "<" if encoding.little else ">"
    group, number, length = tag >> 16, tag & 0xFFFF, len(value)
    if not encoding.explicit:
        _refuse_length(tag, length, UNDEFINED)
        return struct.pack(f"{order}HHI", group, number, length) + value
    if vr in LONG_VRS:
        _refuse_length(tag, length, UNDEFINED)
        return struct.pack(f"{order}HH2sHI", group, number, vr, 0, length) + value
    _refuse_length(tag, length, 0x10000)
    return struct.pack(f"{order}HH2sH", group, number, vr, length) + value


@lru_cache(maxsize=256)
def encode_items(items: tuple[Item, ...], encoding: Encoding) -> bytes:
    """Sequence Items of defined length, one behind the other (PS3.5 section 7.5).

    Cached, because a gateway writes the same few Items into thousands of objects.
    """
    head = struct.Struct("<HHI" if encoding.little else ">HHI")
    encoded = b""
    for item in items:
        value = b"".join(encode(tag, element, encoding) for tag, element in item)
        encoded += head.pack(ITEM >> 16, ITEM & 0xFFFF, len(value)) + value
    return encoded


def encode(tag: Tag, element: NewElement, encoding: Encoding) -> bytes:
    """`element` as a whole Data Element with the tag `tag`; raises StampError as `encode_element` does."""
    value = element.value
    if isinstance(value, tuple):
        value = encode_items(value, encoding)
    elif isinstance(value, int):
        order = "<" if encoding.little else ">"
        value = struct.pack(order + _INTEGERS[element.vr], value)
    return encode_element(tag, element.vr, value, encoding)


def _refuse_length(tag: Tag, length: int, limit: int) -> None:
    if length >= limit:
        raise StampError(f"{tag_name(tag)}: a value of {length} bytes does not fit its length field")
