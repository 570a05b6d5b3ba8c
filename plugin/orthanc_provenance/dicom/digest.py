"""The digest of the pixels: what tells that two objects show the same, whatever their headers say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ..errors import HeaderError
from .header import Header
from .scan import MAX_NESTED, Element, Encoding, item_bounds, scan_elements

PIXEL_DATA = 0x7FE00010
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
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
    objects would share it. Raises HeaderError where the pixels are cut off, where there is more than one of
    these elements, and where no fragments can be told.
    """
    buffer = header.buffer
    found = scan_elements(buffer, header.pixel_start, len(buffer), header.encoding).elements
    pixels = [found[tag] for tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA) if tag in found]
    if len(pixels) > 1:
        # PS3.3 section C.7.6.24 allows one: a digest of one would vouch for the other, which may be shown.
        raise HeaderError("there is more than one of Pixel Data, Float and Double Float Pixel Data")
    return _digest(buffer, pixels[0], header.encoding) if pixels else ""


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
