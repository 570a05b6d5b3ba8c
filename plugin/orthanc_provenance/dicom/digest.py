"""The digest of the pixels: what tells that two objects show the same, whatever their headers say."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from itertools import pairwise

from ..errors import HeaderError
from .header import Header
from .scan import MAX_NESTED, Element, Encoding, Tag, item_bounds, scan_elements

PIXEL_DATA = 0x7FE00010
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
EXTENDED_OFFSET_TABLE = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002
PREFIX = "sha256:"


def pixel_digest(header: Header) -> str:
    """The digest of the pixels of an object, `sha256:` and 64 hexadecimal digits, `""` where it has none.

    They are in Pixel Data (7FE0,0010), Float (7FE0,0008) or Double Float Pixel Data (7FE0,0009).

    - Native pixels: the value field as encoded, its padding byte included. In a big endian object the bytes
      are hashed in their order there: the digest belongs to one encoding of the pixels, not to the picture.
    - Encapsulated pixels (PS3.5 A.4): the fragments' values one behind the other, padding included, without
      the Basic Offset Table (the first Item), item headers and the Extended Offset Table. So it does not
      matter how a bit stream is cut into fragments.

    An object without pixels, or with an empty value, has no digest rather than that of nothing: all empty
    objects would share it.

    Raises HeaderError where the pixels are cut off, where there is more than one of these elements, and where
    no fragments can be told. Also where the elements from the pixels on repeat or descend, or are followed by
    bytes that are none: of what stands twice, or behind the pixels, readers see different things, and a
    digest would vouch for all of them.
    """
    buffer = header.buffer
    rest = scan_elements(buffer, header.pixel_start, len(buffer), header.encoding)
    if not rest.ordered or rest.stop != len(buffer):
        raise HeaderError(
            "the tags from the pixels on repeat or descend, or bytes follow that are no element"
        )
    found = rest.elements
    pixels = [found[tag] for tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA) if tag in found]
    if len(pixels) > 1:
        # PS3.3 section C.7.6.24 allows one: a digest of one would vouch for the other, which may be shown.
        raise HeaderError("there is more than one of Pixel Data, Float and Double Float Pixel Data")
    if not pixels:
        return ""
    digest = _digest(buffer, pixels[0], header.encoding)
    if pixels[0].undefined:
        _refuse_misleading_offsets(header, found, pixels[0])
    return digest


def _digest(buffer: bytes, element: Element, encoding: Encoding) -> str:
    view = memoryview(buffer)
    digest = hashlib.sha256()
    hashed = 0
    for start, end in _value_parts(buffer, element, encoding):
        digest.update(view[start:end])
        hashed += end - start
    return PREFIX + digest.hexdigest() if hashed else ""


def _value_parts(buffer: bytes, element: Element, encoding: Encoding) -> Iterator[tuple[int, int]]:
    if not element.undefined:
        yield element.value, element.end
        return
    fragments = item_bounds(buffer, element, encoding, MAX_NESTED)
    if next(fragments, None) is None:
        raise HeaderError("the encapsulated pixels lack their first item, the Basic Offset Table")
    yield from fragments


def _refuse_misleading_offsets(header: Header, found: dict[Tag, Element], pixels: Element) -> None:
    """Raises HeaderError where the tables of where frames begin lead elsewhere than from one to the next:
    the Basic Offset Table (PS3.5 section A.4), the Extended one and its Lengths (PS3.3 section C.7.6.3).

    They are not part of the digest, and decide which fragments are shown as which frame.
    """
    table, *fragments = item_bounds(header.buffer, pixels, header.encoding, MAX_NESTED)
    if not fragments:
        return
    sizes = {start - fragments[0][0]: end - start for start, end in fragments}
    basic = _numbers(header.buffer, table, "<I")
    extended = _numbers(header.buffer, _bounds(found.get(EXTENDED_OFFSET_TABLE)), "<Q")
    lengths = _numbers(header.buffer, _bounds(found.get(EXTENDED_OFFSET_TABLE_LENGTHS)), "<Q")
    for offsets in (basic, extended):
        ascending = all(before < after for before, after in pairwise(offsets))
        if offsets and (offsets[0] or not ascending or not sizes.keys() >= set(offsets)):
            raise HeaderError("an offset table of the encapsulated pixels does not lead from frame to frame")
    # A frame of these tables is one fragment, whose padding byte the length may leave out.
    if lengths and [size - size % 2 for size in (length + 1 for length in lengths)] != [
        sizes[offset] for offset in extended
    ]:
        raise HeaderError("the Extended Offset Table Lengths are not those of the frames")


def _bounds(element: Element | None) -> tuple[int, int]:
    return (0, 0) if element is None else (element.value, element.end)


def _numbers(buffer: bytes, bounds: tuple[int, int], form: str) -> list[int]:
    start, end = bounds
    if (end - start) % struct.calcsize(form):
        raise HeaderError("an offset table of the encapsulated pixels is no list of numbers")
    return [number for (number,) in struct.iter_unpack(form, buffer[start:end])]
