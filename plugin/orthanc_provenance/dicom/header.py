"""Reading the header of a DICOM object as it was received: bounded, without recursion, never the pixels.

The file format is PS3.10 section 7; the transfer syntaxes are those of PS3.5 section 10. Encapsulated
syntaxes need no care here: their Data Sets are Explicit VR Little Endian up to the pixels (PS3.5 A.4).
"""

from __future__ import annotations

import zlib

from ..errors import HeaderError
from .dataset import MAX_IN_ITEMS, Dataset
from .scan import LONG_VRS, PIXEL_GROUP, SHORT_VRS, UNDEFINED, Encoding, scan_elements

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
DEFLATED_SYNTAXES = frozenset((DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
"""Those in which the Data Set is deflated as a whole: PS3.5 A.5, and where pixels lie elsewhere, A.7."""
MAX_INFLATED = 1 << 29
_PREAMBLE = 132
_LONGEST_FIRST = 1 << 16
_KNOWN_VRS = LONG_VRS | SHORT_VRS
_TRANSFER_SYNTAX = 0x00020010
_DATASET = 0x00030000


class Header(Dataset):
    """The top-level elements of one object, up to its pixel data.

    `buffer` is the whole file, or for a deflated transfer syntax the file meta information followed by the
    inflated Data Set. `meta` is the file meta information (PS3.10 section 7.1), None where there is none.
    `dataset_start` is the offset of the Data Set in `buffer`, and `pixel_start` the offset of the first
    element of group 7FE0 or above (the end of the buffer where there is none). `ordered` is false where tags
    repeat or descend. `has_meta` is false where the preamble, the file meta information, or the Transfer
    Syntax UID in it, is missing; without the latter the encoding had to be guessed. `whole` is false where a
    deflated Data Set lacks its end, or more than its padding byte follows that.
    """

    __slots__ = ("dataset_start", "has_meta", "meta", "ordered", "pixel_start", "transfer_syntax", "whole")

    def __init__(
        self,
        buffer: bytes,
        start: int,
        transfer_syntax: str,
        meta: Dataset | None,
        max_in_items: int = MAX_IN_ITEMS,
    ) -> None:
        syntax = transfer_syntax or _guess_syntax(buffer, start)
        encoding = Encoding(explicit=syntax != IMPLICIT_LITTLE, little=syntax != EXPLICIT_BIG)
        found = scan_elements(buffer, start, len(buffer), encoding, stop_at=PIXEL_GROUP)
        super().__init__(buffer, found.elements, encoding, max_in_items=max_in_items)
        self.meta = meta
        self.dataset_start = start
        self.pixel_start = found.stop
        self.ordered = found.ordered
        self.transfer_syntax = syntax
        self.has_meta = bool(transfer_syntax) and buffer[128:_PREAMBLE] == b"DICM"
        self.whole = True


def read_header(data: bytes, max_in_items: int = MAX_IN_ITEMS) -> Header:
    """The header of the object in `data`, the bytes of a DICOM file (PS3.10), whole or cut behind the header.

    `max_in_items` bounds the elements that may be read in the Items of Sequences, see `Dataset.items`. A
    missing preamble, and a missing Transfer Syntax UID, are tolerated as toolkits do. Raises HeaderError
    where the bytes are no DICOM object, are cut off inside the header, or exceed the bounds of `dicom.scan`.
    """
    body = _PREAMBLE if data[128:_PREAMBLE] == b"DICM" else 0
    meta, transfer_syntax = None, ""
    if data[body : body + 2] == b"\x02\x00":
        # File meta information is Explicit VR Little Endian, whatever follows it.
        found = scan_elements(data, body, len(data), Encoding(), stop_at=_DATASET)
        meta, body = Dataset(data, found.elements, Encoding()), found.stop
        transfer_syntax = meta.text(_TRANSFER_SYNTAX)
    whole = True
    if transfer_syntax in DEFLATED_SYNTAXES:
        inflated, whole = _inflate(data[body:])
        data = data[:body] + inflated
    header = Header(data, body, transfer_syntax, meta, max_in_items)
    header.whole = whole
    if not header.elements:
        raise HeaderError("no DICOM object: no data element could be read; is this a DICOM file?")
    return header


def _inflate(data: bytes) -> tuple[bytes, bool]:
    """The Data Set of a deflated transfer syntax, Explicit VR Little Endian (PS3.5 A.5), and whether its end
    is there, and nothing behind that but a padding byte.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, MAX_INFLATED)
    except zlib.error as problem:
        raise HeaderError(f"the deflated data set cannot be inflated: {problem}") from problem
    if inflater.unconsumed_tail:
        raise HeaderError(f"the deflated data set is larger than {MAX_INFLATED} bytes")
    return inflated, inflater.eof and inflater.unused_data in (b"", b"\0")


def _guess_syntax(data: bytes, start: int) -> str:
    """Explicit or Implicit VR Little Endian, told by whether a VR follows the first tag.

    Raises HeaderError where nothing else says that this is DICOM and the first element is not like one: what
    stands first in a Data Set is short, while four characters of a text make a length of half a gigabyte.
    """
    group = int.from_bytes(data[start : start + 2], "little")
    vr = data[start + 4 : start + 6]
    length = int.from_bytes(data[start + 4 : start + 8], "little")
    explicit = vr in _KNOWN_VRS if start == 0 else vr.isalpha() and vr.isupper()
    is_like_one = explicit or start > 0 or length <= _LONGEST_FIRST or length == UNDEFINED
    if len(data) < start + 8 or not 0x0002 <= group <= 0x7FE0 or not is_like_one:
        raise HeaderError("no DICOM object: neither a DICM prefix nor a data element; is this a DICOM file?")
    return EXPLICIT_LITTLE if explicit else IMPLICIT_LITTLE
