"""Walking encoded Data Elements without recursion and within bounds (PS3.5 section 7).

The in-line path runs under a server-wide lock and on threads with small stacks: so there is one flat loop
over the top level, and a second one, with a stack of its own, for what has no length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Literal, NamedTuple

from ..errors import HeaderError

Tag = int
UNDEFINED = 0xFFFFFFFF
_new_tuple = tuple.__new__
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
PIXEL_GROUP = 0x7FE00000

MAX_DEPTH = 32
MAX_ELEMENTS = 50_000
MAX_NESTED = 1_000_000

LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_HAS_LONG_LENGTH = {**dict.fromkeys(LONG_VRS, True), **dict.fromkeys(SHORT_VRS, False)}
_HEAD_LE = struct.Struct("<HH2sH").unpack_from
_HEAD_BE = struct.Struct(">HH2sH").unpack_from
_PLAIN_LE = struct.Struct("<HHI").unpack_from
_PLAIN_BE = struct.Struct(">HHI").unpack_from
_LENGTH_LE = struct.Struct("<I").unpack_from
_LENGTH_BE = struct.Struct(">I").unpack_from


class Element(NamedTuple):
    """Where one Data Element lies in the bytes: `start` of its tag, `value` field, `end` behind it.

    `vr` is the two letters as written (b"" in Implicit VR). `undefined` is true for an undefined length, in
    which case `end` lies behind the Sequence Delimitation Item.
    """

    vr: bytes
    start: int
    value: int
    end: int
    undefined: bool


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a Data Set is encoded (PS3.5 section 7.1 and 7.3)."""

    explicit: bool = True
    little: bool = True

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """The byte order, as `int.from_bytes` and `int.to_bytes` call it."""
        return "little" if self.little else "big"


@dataclass(slots=True)
class Budget:
    """How many nested elements and Items may still be stepped over in one object."""

    steps: int


class Scan(NamedTuple):
    """The elements found, where the walk stopped, whether their tags ascend, and how many were met."""

    elements: dict[Tag, Element]
    stop: int
    ordered: bool
    steps: int


def scan_elements(
    buffer: bytes, start: int, end: int, encoding: Encoding, stop_at: int = 0x1_0000_0000
) -> Scan:
    """Walk the Data Elements of `buffer[start:end]` up to the first with a tag of at least `stop_at`.

    Values are stepped over, never read. Raises HeaderError where an element reaches beyond `end`, where
    there are more than 50,000 elements, or where nesting without lengths is too deep or too long.
    """
    elements: dict[Tag, Element] = {}
    position, last, ordered, repeated = start, -1, True, 0
    head = _HEAD_LE if encoding.little else _HEAD_BE
    plain = _PLAIN_LE if encoding.little else _PLAIN_BE
    long_length = _LENGTH_LE if encoding.little else _LENGTH_BE
    explicit, limit, budget, kind = encoding.explicit, end - 8, Budget(MAX_NESTED), _HAS_LONG_LENGTH.get
    # Nothing at or above an Item Delimitation Item is an element: one comparison for the usual tag.
    special = min(stop_at, ITEM_END)
    # As one loop that counts: a check in each round would cost a tenth of the whole.
    for _ in repeat(None, MAX_ELEMENTS + 1):
        if position > limit:
            break
        vr = b""
        value = position + 8
        if explicit:
            group, number, vr, length = head(buffer, position)
            is_long = kind(vr)
            if is_long:
                value = position + 12
                if value > end:
                    raise HeaderError(f"the element at offset {position} is cut off")
                (length,) = long_length(buffer, position + 8)
            elif is_long is None:
                group, number, length = plain(buffer, position)
                vr = b""
        else:
            group, number, length = plain(buffer, position)
        tag = (group << 16) | number
        if tag >= special and (tag >= stop_at or tag == ITEM_END):
            break
        undefined = length == UNDEFINED
        if undefined:
            unknown = vr == b"UN"
            inside = (explicit and not unknown, encoding.little or unknown)
            after = skip_undefined(buffer, value, end, *inside, budget)
        else:
            after = value + length
        if after > end:
            raise HeaderError(f"element ({group:04X},{number:04X}) at offset {position} is cut off")
        if tag > last:
            # The constructor of the class costs twice as much, for each element of each object.
            elements[tag] = _new_tuple(Element, (vr, position, value, after, undefined))
        else:
            ordered = False
            repeated += 1
            elements.setdefault(tag, Element(vr, position, value, after, undefined))
        last = tag
        position = after
    else:
        raise HeaderError(f"more than {MAX_ELEMENTS} elements")
    return Scan(elements, position, ordered, len(elements) + repeated)


def skip_undefined(buffer: bytes, start: int, end: int, explicit: bool, little: bool, budget: Budget) -> int:
    """The offset behind the Sequence Delimitation Item that ends the value starting at `start`.

    For Sequences and for encapsulated pixel data alike (PS3.5 section 7.5 and A.4). UN of undefined length
    holds Implicit VR Little Endian (PS3.5 section 6.2.2). Raises HeaderError beyond 32 levels, where
    the `budget` of the object is used up, and where the end is missing.
    """
    stack: list[tuple[bool, bool]] = [(True, explicit)]
    position = start
    plain = _PLAIN_LE if little else _PLAIN_BE
    head = _HEAD_LE if little else _HEAD_BE
    long_length = _LENGTH_LE if little else _LENGTH_BE
    for step in range(budget.steps):
        if position + 8 > end:
            raise HeaderError(f"the sequence at offset {start} has no end")
        in_sequence, with_vr = stack[-1]
        group, number, length = plain(buffer, position)
        tag = (group << 16) | number
        if in_sequence:
            position += 8
            if tag == SEQUENCE_END:
                stack.pop()
                if not stack:
                    budget.steps -= step
                    return position
            elif tag != ITEM:
                raise HeaderError(f"no item where one should start, at offset {position - 8}")
            elif length == UNDEFINED:
                stack.append((False, with_vr))
            else:
                position += length
        elif tag == ITEM_END:
            position += 8
            stack.pop()
        else:
            vr, value = b"", position + 8
            if with_vr:
                vr, short = head(buffer, position)[2:]
                if vr in LONG_VRS:
                    if position + 12 > end:
                        break
                    (length,), value = long_length(buffer, position + 8), position + 12
                elif vr in SHORT_VRS:
                    length = short
            position = value
            if length == UNDEFINED and vr == b"UN" and not little:
                # The byte order changes too. Never more than one call deep: inside there are no VRs.
                position = skip_undefined(buffer, value, end, False, True, budget)
            elif length == UNDEFINED:
                stack.append((True, with_vr and vr != b"UN"))
            else:
                position += length
        if len(stack) > MAX_DEPTH * 2:
            raise HeaderError(f"sequences nested deeper than {MAX_DEPTH}")
    raise HeaderError(f"the sequence at offset {start} is cut off, or more than {MAX_NESTED} are nested")


def item_bounds(buffer: bytes, element: Element, encoding: Encoding, limit: int) -> Iterator[tuple[int, int]]:
    """The first `limit` Items of a Sequence or fragments of pixel data, as (start, end) of their values.

    An Item of undefined length ends at its Item Delimitation Item, which is not part of the value. Raises
    HeaderError where no Item starts where one should.
    """
    plain = _PLAIN_LE if encoding.little else _PLAIN_BE
    position = element.value
    for _ in range(limit):
        if position + 8 > element.end:
            return
        group, number, length = plain(buffer, position)
        tag = (group << 16) | number
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise HeaderError(f"no item where one should start, at offset {position}")
        start = position + 8
        if length == UNDEFINED:
            end = scan_elements(buffer, start, element.end, encoding).stop
            position = end + 8
        else:
            end = position = start + length
        if end > element.end:
            raise HeaderError(f"the item at offset {start - 8} is cut off")
        yield start, end
