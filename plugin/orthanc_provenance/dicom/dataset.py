"""A read-only view of one encoded Data Set: its elements by tag, decoded only when asked for.

Values are looked up in the bytes as received (PS3.5 section 7), so that a header of hundreds of elements
costs no more than the few that are read. Sequence Items are views of the same kind, made without recursion.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator

from pydicom.charset import convert_encodings, decode_bytes, python_encoding

from ..errors import HeaderError, HeaderTooLarge
from . import scan
from .scan import Budget, Element, Encoding, Tag

SPECIFIC_CHARACTER_SET = 0x00080005
_TEXT_DELIMITERS = {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}
_MAX_TEXT = 65536
MAX_IN_ITEMS = 200_000
_DEFAULT_ENCODING = "iso8859"
_TEXT_CODECS = frozenset(codecs.lookup(name).name for name in python_encoding.values())


def tag_name(tag: Tag) -> str:
    """The tag as the standard writes it: `(0008,001C)`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Dataset:
    """The elements of one Data Set or Sequence Item, by tag.

    `elements` maps a tag to its place in `buffer`. All text comes back stripped of padding, decoded by the
    Specific Character Set in force, with what cannot be decoded replaced: a broken value never raises.
    """

    __slots__ = ("_creators", "_encodings", "_items", "_left", "_parent", "buffer", "elements", "encoding")

    def __init__(
        self,
        buffer: bytes,
        elements: dict[Tag, Element],
        encoding: Encoding,
        parent: Dataset | None = None,
        max_in_items: int = MAX_IN_ITEMS,
    ) -> None:
        self.buffer = buffer
        self.elements = elements
        self.encoding = encoding
        self._parent = parent
        self._items: dict[tuple[Tag, int], tuple[Dataset, ...]] = {}
        # Shared by all Items of one object, however often and from wherever they are asked for.
        self._left: Budget = parent._left if parent is not None else Budget(max_in_items)
        self._encodings: list[str] | None = None
        self._creators: tuple[Tag, ...] | None = None

    def __contains__(self, tag: Tag) -> bool:
        return tag in self.elements

    def raw(self, tag: Tag) -> bytes:
        """The bytes of the value field, empty where the element is absent or has items."""
        element = self.elements.get(tag)
        if element is None or element.undefined:
            return b""
        return self.buffer[element.value : element.end]

    def texts(self, tag: Tag) -> tuple[str, ...]:
        """The values of a text element, split at backslashes and stripped; () where absent or empty."""
        decoded = self._decode(tag)
        if not decoded:
            return ()
        if "\\" not in decoded:
            return (decoded.strip(" \0"),)
        return tuple(part.strip(" \0") for part in decoded.split("\\"))

    def text(self, tag: Tag) -> str:
        """The first value of a text element, `""` where absent."""
        values = self.texts(tag)
        return values[0] if values else ""

    def whole_text(self, tag: Tag) -> str:
        """A single-valued text (ST, LT, UT), in which a backslash is a character; at most 65,536 bytes."""
        return self._decode(tag).strip(" \0")

    def integers(self, tag: Tag, size: int = 2) -> tuple[int, ...]:
        """The values of a US (`size` 2) or UL (`size` 4) element; () where absent or ill-sized."""
        value = self.raw(tag)
        if not value or len(value) % size or len(value) > _MAX_TEXT:
            return ()
        code = {2: "H", 4: "I"}[size]
        return struct.unpack(f"{'<' if self.encoding.little else '>'}{len(value) // size}{code}", value)

    def items(self, tag: Tag, limit: int = 1024) -> tuple[Dataset, ...]:
        """The Items of a Sequence, at most `limit`; () where it is absent, empty, or no readable Sequence.

        Raises HeaderTooLarge once the Items of the object that were asked for hold too many elements.
        """
        found = self._items.get((tag, limit))
        if found is None:
            found = self._items[tag, limit] = tuple(self._iterate_items(tag, limit))
        return found

    @property
    def private_creators(self) -> tuple[Tag, ...]:
        """The tags of Private Creators, (gggg,0010-00FF) of an odd group (PS3.5 section 7.8.1)."""
        if self._creators is None:
            self._creators = tuple([tag for tag in self.elements if tag & 0x1FF00 == 0x10000])
        return self._creators

    def private(self, creator: str, group: int, element: int) -> Tag | None:
        """The tag that (group, xx`element`) of `creator`'s block has in this Data Set (PS3.5 section 7.8.1).

        None where the creator has reserved no block, or the block holds no such element.
        """
        for tag in range((group << 16) | 0x10, (group << 16) | 0x100):
            if tag in self.elements and self.text(tag).upper() == creator.upper():
                found = (group << 16) | ((tag & 0xFF) << 8) | element
                if found in self.elements:
                    return found
        return None

    def _iterate_items(self, tag: Tag, limit: int) -> Iterator[Dataset]:
        element = self.elements.get(tag)
        if element is None or element.end == element.value or element.vr not in (b"SQ", b"UN", b""):
            return
        encoding = self.encoding
        if element.vr == b"UN":
            encoding = Encoding(explicit=False, little=True)
        try:
            for start, end in scan.item_bounds(self.buffer, element, encoding, limit):
                found = scan.scan_elements(self.buffer, start, end, encoding)
                self._left.steps -= found.steps + 1
                if self._left.steps < 0:
                    raise HeaderTooLarge("too many elements in the items of its sequences")
                yield Dataset(self.buffer, found.elements, encoding, parent=self)
        except HeaderTooLarge:
            raise
        except HeaderError:
            # A nested value that cannot be walked is no evidence; the object as a whole was readable.
            return

    def _decode(self, tag: Tag) -> str:
        value = self.raw(tag)[:_MAX_TEXT]
        if not value:
            return ""
        if value.isascii() and b"\x1b" not in value:
            return value.decode("ascii")
        return decode_bytes(value, self._character_sets(), _TEXT_DELIMITERS)

    def _character_sets(self) -> list[str]:
        if self._encodings is None:
            declared = self.raw(SPECIFIC_CHARACTER_SET)
            if declared or self._parent is None:
                self._encodings = _python_encodings(declared.decode("ascii", "replace"))
            else:
                self._encodings = self._parent._character_sets()
        return self._encodings


def _python_encodings(declared: str) -> list[str]:
    """Python's codecs for the values of Specific Character Set (PS3.3 section C.12.1.1.2).

    pydicom takes the name of any Python codec for a misspelt character set; but some of those are no text
    encodings and raise, so only codecs of the standard's character sets come through.
    """
    try:
        names = convert_encodings([name.strip(" \0") for name in declared.split("\\")])
    except (LookupError, ValueError):
        return [_DEFAULT_ENCODING]
    return [name if codecs.lookup(name).name in _TEXT_CODECS else _DEFAULT_ENCODING for name in names]
