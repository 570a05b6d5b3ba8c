"""Inserting Data Elements into the bytes of an object, so that everything else stays byte for byte.

The object is cut at the places of the new elements and joined again: nothing is decoded, no other element
is touched, and the large part of the object is copied once. Only lengths that count the inserted bytes
change: those of a Sequence that got an Item, and Group Lengths (PS3.5 section 7.2) where there are any.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import HeaderError, StampError
from .dataset import tag_name
from .encode import IMPLICIT_LITTLE_ENDIAN, NewElement, encode, encode_items
from .header import DEFLATED_SYNTAXES, Header
from .scan import PIXEL_GROUP, UNDEFINED, Element, Encoding, Tag, item_bounds, scan_elements

LENGTH_TO_END = 0x00080001
DIRECTORY_RECORDS = 0x00041220
MAX_ITEMS = 10_000
_DELIMITER_SIZE = 8
_DELIMITERS = 0xFFFE0000
_DATASET = 0x00030000


class _Edit(NamedTuple):
    """`buffer[start:end]` is replaced by `replacement`; an insertion where `start` equals `end`."""

    start: int
    end: int
    replacement: bytes


def splice(header: Header, additions: Mapping[Tag, NewElement]) -> bytes:
    """The bytes of the object of `header` with `additions`, everything else as it was.

    A tag that the object lacks becomes a new top-level element at its place in tag order. A Sequence that
    it has gets the new Items behind those that are there. In a deflated object (PS3.5 A.5) the Data Set is
    deflated again, always with the same parameters. The file meta information is never touched.

    Raises StampError where the object has no complete file meta information or is not encoded as that says,
    where it is a DICOMDIR, where its tags do not ascend, and where something that is no Data Element stands
    before the pixels; where an addition is there already or lies in no place of its own (file meta
    information, pixels, a Group Length); where a Sequence to be appended to is malformed; and where a Group
    Length is wrong as received.
    """
    _refuse_unfit(header)
    tags = list(header.elements)
    edits: list[_Edit] = []
    grown: dict[int, int] = {}
    for tag in sorted(additions):
        _refuse_tag(tag)
        found = header.elements.get(tag)
        if found is None:
            position = _place(header, tags, tag)
            inserted = encode(tag, additions[tag], header.encoding)
        else:
            inserted = _new_items(header, tag, found, additions[tag])
            if found.undefined:
                position = found.end - _DELIMITER_SIZE
            else:
                position = found.end
                edits.append(_sequence_length(header, tag, found, len(inserted)))
        edits.append(_Edit(position, position, inserted))
        grown[tag >> 16] = grown.get(tag >> 16, 0) + len(inserted)
    edits.extend(_group_lengths(header, tags, grown))
    if LENGTH_TO_END in header:
        edits.append(_counting(header, LENGTH_TO_END, len(header.buffer), sum(grown.values())))
    # Stable: what goes to the same place stays in tag order.
    edits.sort(key=lambda edit: edit.start)
    if header.transfer_syntax in DEFLATED_SYNTAXES:
        return _deflated(header, edits)
    return b"".join(_pieces(header.buffer, 0, edits))


def _refuse_unfit(header: Header) -> None:
    if not header.has_meta:
        raise StampError("the object has no complete file meta information; it is left as it came")
    if DIRECTORY_RECORDS in header:
        # Its records name each other by their offsets in the file (PS3.3 section F.2.2).
        raise StampError("the object is a directory of a medium (DICOMDIR); it is left as it came")
    if not header.ordered:
        raise StampError("the tags of the data set repeat or descend; it is left as it came")
    if header.encoding.explicit and next(iter(header.elements.values())).vr == b"":
        raise StampError("the data set has no VRs where its transfer syntax has them; it is left as it came")
    rest = header.buffer[header.pixel_start : header.pixel_start + _DELIMITER_SIZE]
    group = int.from_bytes(rest[:2], header.encoding.byte_order)
    if rest and not (len(rest) == _DELIMITER_SIZE and PIXEL_GROUP >> 16 <= group < _DELIMITERS >> 16):
        raise StampError(f"the bytes at offset {header.pixel_start} are no data element; left as it came")


def _refuse_tag(tag: Tag) -> None:
    if not _DATASET <= tag < PIXEL_GROUP or not tag & 0xFFFF or tag == LENGTH_TO_END:
        raise StampError(
            f"{tag_name(tag)} cannot be inserted: only elements between file meta and pixels can"
        )


def _place(header: Header, tags: list[Tag], tag: Tag) -> int:
    """The offset at which an element `tag` has its place: that of the first element with a tag not below."""
    index = bisect_left(tags, tag)
    return header.elements[tags[index]].start if index < len(tags) else header.pixel_start


def _new_items(header: Header, tag: Tag, found: Element, addition: NewElement) -> bytes:
    """The Items of `addition`, encoded as those of the Sequence `found` are."""
    encoding = header.encoding
    if found.vr == b"UN":
        # PS3.5 section 6.2.2: a Sequence whose VR was not known is Implicit VR Little Endian inside.
        encoding = IMPLICIT_LITTLE_ENDIAN
    elif found.vr != (b"SQ" if encoding.explicit else b""):
        raise StampError(f"{tag_name(tag)} is there already, and is no sequence to append to")
    if not isinstance(addition.value, tuple):
        raise StampError(f"{tag_name(tag)} is there already; existing values are never replaced")
    _refuse_malformed(header.buffer, tag, found, encoding)
    return encode_items(addition.value, encoding)


def _refuse_malformed(buffer: bytes, tag: Tag, found: Element, encoding: Encoding) -> None:
    """Appending behind something that is no Item would make more of the object unreadable than before."""
    behind = found.value
    try:
        for start, end in item_bounds(buffer, found, encoding, MAX_ITEMS):
            undefined = buffer[start - 4 : start] == b"\xff\xff\xff\xff"
            behind = end + _DELIMITER_SIZE if undefined else end
            if found.vr == b"UN" and scan_elements(buffer, start, end, encoding).stop != end:
                raise StampError(f"{tag_name(tag)}: an item at offset {start} cannot be read")
    except HeaderError as problem:
        raise StampError(f"{tag_name(tag)} is no sequence to append to: {problem}") from problem
    if behind != (found.end - _DELIMITER_SIZE if found.undefined else found.end):
        raise StampError(
            f"{tag_name(tag)} is no sequence to append to: more than {MAX_ITEMS} items, or stray bytes, "
            f"at offset {behind}"
        )


def _sequence_length(header: Header, tag: Tag, found: Element, growth: int) -> _Edit:
    length = found.end - found.value + growth
    if length >= UNDEFINED:
        raise StampError(f"{tag_name(tag)} is too long for another item")
    # The length of a UN, unlike what it holds, is in the byte order of the Data Set.
    return _Edit(found.value - 4, found.value, length.to_bytes(4, header.encoding.byte_order))


def _group_lengths(header: Header, tags: list[Tag], grown: Mapping[int, int]) -> Iterable[_Edit]:
    """The Group Lengths (gggg,0000) of the groups that have grown, where the object has them."""
    for group, growth in grown.items():
        tag = group << 16
        if tag in header:
            yield _counting(header, tag, _place(header, tags, (group + 1) << 16), growth)


def _counting(header: Header, tag: Tag, until: int, growth: int) -> _Edit:
    """The new value of the UL element `tag` that counts the bytes behind itself up to the offset `until`."""
    element = header.elements[tag]
    length = until - element.end
    if header.integers(tag, size=4) != (length,):
        raise StampError(
            f"{tag_name(tag)} does not say {length}, the length of what follows; left as it came"
        )
    return _Edit(element.value, element.end, (length + growth).to_bytes(4, header.encoding.byte_order))


def _pieces(buffer: bytes, start: int, edits: Iterable[_Edit]) -> Iterable[bytes | memoryview]:
    """The parts of the new object from `start` on; the old ones are views, so that only the join copies."""
    view = memoryview(buffer)
    for edit in edits:
        yield view[start : edit.start]
        yield edit.replacement
        start = edit.end
    yield view[start:]


def _deflated(header: Header, edits: Iterable[_Edit]) -> bytes:
    """The object with its Data Set deflated again (PS3.5 A.5: padded with NUL to an even length)."""
    if not header.whole:
        raise StampError("the deflated data set lacks its end, or bytes follow it; it is left as it came")
    try:
        scan_elements(header.buffer, header.pixel_start, len(header.buffer), header.encoding)
    except HeaderError as problem:
        # Deflating would turn a broken stream into a sound one, and hide that the object is not whole.
        raise StampError(f"the deflated data set is not whole: {problem}") from problem
    compressor = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY)
    parts = [compressor.compress(piece) for piece in _pieces(header.buffer, header.dataset_start, edits)]
    parts.append(compressor.flush())
    padding = b"\0" if sum(map(len, parts)) % 2 else b""
    return b"".join([header.buffer[: header.dataset_start], *parts, padding])
