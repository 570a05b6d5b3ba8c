"""Where the frames of an object lie in its bytes (PS3.5 section 8 and annex A.4)."""

from __future__ import annotations

import io
import struct

from pydicom.encaps import get_frame

from ..dicom.digest import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, PIXEL_DATA
from ..dicom.header import Header
from ..dicom.scan import scan_elements
from ..errors import NotEncodable

_NUMBER_OF_FRAMES = 0x00280008
_SAMPLES_PER_PIXEL = 0x00280002
_PHOTOMETRIC = 0x00280004
_ROWS, _COLUMNS, _BITS_ALLOCATED = 0x00280010, 0x00280011, 0x00280100
_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002
_MAX_FRAMES = 1 << 24


def frame_count(header: Header) -> int:
    """Number of Frames (0028,0008); 1 where it is absent or says nothing."""
    text = header.text(_NUMBER_OF_FRAMES)
    return min(max(int(text), 1), _MAX_FRAMES) if text.isascii() and text.isdigit() and len(text) < 12 else 1


def frame_size(header: Header) -> tuple[int, int]:
    """Columns (0028,0011) and Rows (0028,0010) in pixels; 0 where they are absent."""
    return (header.integers(_COLUMNS) or (0,))[0], (header.integers(_ROWS) or (0,))[0]


def frame(header: Header, number: int) -> bytes:
    """The bytes of frame `number`, counted from 1, as they are encoded.

    Raises NotEncodable where the attributes of the object do not tell where its frames lie.
    """
    buffer = header.buffer
    found = scan_elements(buffer, header.pixel_start, len(buffer), header.encoding).elements
    tags = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)
    element = next((found[tag] for tag in tags if tag in found), None)
    if element is None:
        raise NotEncodable("the object has no pixels")
    if not element.undefined:
        return _native(header, memoryview(buffer)[element.value : element.end], number)
    pixels = io.BytesIO(buffer)
    pixels.seek(element.value)
    extended = None
    if _OFFSETS in found and _LENGTHS in found:
        tables = (found[_OFFSETS], found[_LENGTHS])
        extended = (buffer[tables[0].value : tables[0].end], buffer[tables[1].value : tables[1].end])
    try:
        count = frame_count(header)
        return get_frame(pixels, number - 1, extended_offsets=extended, number_of_frames=count)
    except (ValueError, IndexError, EOFError, struct.error) as problem:
        raise NotEncodable(f"frame {number} cannot be told from the fragments: {problem}") from problem


def _native(header: Header, pixels: memoryview, number: int) -> bytes:
    bits = _bits_of_frame(header)
    start, end = (number - 1) * bits, number * bits
    if not bits or end > len(pixels) * 8:
        raise NotEncodable(f"the pixels end before frame {number}")
    if not start % 8 and not bits % 8:
        return bytes(pixels[start // 8 : end // 8])
    # Single bits are packed without a gap between frames, the first in the lowest bit (PS3.5 section 8.1.1).
    some = int.from_bytes(pixels[start // 8 : -(-end // 8)], "little") >> start % 8
    return (some & ((1 << bits) - 1)).to_bytes(-(-bits // 8), "little")


def _bits_of_frame(header: Header) -> int:
    def value(tag: int, default: int) -> int:
        return (header.integers(tag) or (default,))[0]

    bits = value(_ROWS, 0) * value(_COLUMNS, 0) * value(_SAMPLES_PER_PIXEL, 1) * value(_BITS_ALLOCATED, 8)
    # Two pixels share their chrominance: four samples for two pixels (PS3.3 section C.7.6.3.1.2).
    return bits * 2 // 3 if header.text(_PHOTOMETRIC) in ("YBR_FULL_422", "YBR_PARTIAL_422") else bits
