"""The examples of catalogue entries: attribute tables made into DICOM headers, and run.

Keys are paths of one step in the language of the catalogue; a value is a text, a number, a list of texts (one
value each), or a list of tables (Items).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from ..dicom.encode import Item, NewElement, encode
from ..dicom.header import EXPLICIT_LITTLE, Header, read_header
from ..dicom.scan import Encoding, Tag
from ..errors import HeaderError, StampError
from .language import AttributePath, parse_paths
from .marker import Marker
from .matcher import match_plan
from .plan import Plan

_ENCODING = Encoding()
_BINARY = {"US": "<H", "UL": "<I", "SS": "<h", "SL": "<i", "FL": "<f", "FD": "<d"}
_CHARACTER_SET = 0x00080005
_TRANSFER_SYNTAX = 0x00020010


def contradictions(marker: Marker) -> Iterator[str]:
    """What speaks against `marker` in its own examples: a sentence for each that does not do as it says."""
    plan = Plan.of((marker,))
    for expected, tables in ((True, marker.match), (False, marker.no_match)):
        for number, table in enumerate(tables, 1):
            kind = "match" if expected else "no_match"
            if bool(match_plan(plan, example_header(table))) is not expected:
                does = "does not match" if expected else "does match"
                yield f"examples.{kind} number {number} {does}; correct the example, the pattern or the guard"


def example_header(table: Mapping[str, Any]) -> Header:
    """The header of a DICOM file with the attributes in `table` and nothing else.

    Raises ValueError for a key that is no path of one step, or a value of another kind.
    """
    elements = example_elements({"(0008,0005)": "ISO_IR 192", **table})
    meta: list[tuple[Tag, NewElement]] = [item for item in elements if item[0] >> 16 == 0x0002]
    meta.append((_TRANSFER_SYNTAX, NewElement(b"UI", EXPLICIT_LITTLE.encode("ascii"))))
    body = [item for item in elements if item[0] >> 16 > 0x0002]
    try:
        encoded = b"".join(encode(tag, element, _ENCODING) for tag, element in (*sorted(meta), *body))
        return read_header(bytes(128) + b"DICM" + encoded)
    except (HeaderError, StampError) as problem:
        raise ValueError(f"an example cannot be written as DICOM: {problem}; give it less") from problem


def example_elements(table: Mapping[str, Any]) -> Item:
    """The elements that `table` stands for, encoded in UTF-8, with their tags ascending.

    Raises ValueError for a key that is no path of one step, or a value of another kind.
    """
    found: dict[Tag, NewElement] = {}
    blocks: dict[tuple[int, str], int] = {}
    for key, value in table.items():
        paths = parse_paths(key)
        if len(paths) != 1 or len(paths[0].steps) != 1:
            raise ValueError(f"example key {key!r} must be one attribute; write Items as a list of tables")
        step = paths[0].steps[0]
        tag = step.tag
        if step.creator:
            group = tag >> 16
            block = blocks.setdefault((group, step.creator), 0x10 + len(blocks))
            found[(group << 16) | block] = NewElement(b"LO", step.creator.encode())
            tag = (group << 16) | (block << 8) | (tag & 0xFF)
        found[tag] = _element(key, paths[0], value)
    return tuple(sorted(found.items()))


def _element(key: str, path: AttributePath, value: object) -> NewElement:
    if isinstance(value, str):
        return NewElement(path.vr.encode() or b"LO", value.encode())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(key, path, value)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return NewElement(path.vr.encode() or b"LO", "\\".join(value).encode())
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return NewElement(b"SQ", tuple(example_elements(part) for part in value))
    raise ValueError(
        f"example value of {key!r} is none; write a text, a number, a list of texts, or a list of tables"
    )


def _number(key: str, path: AttributePath, value: float) -> NewElement:
    """A number as the VR of its attribute has it (PS3.5 section 6.2): binary, or as text."""
    if path.vr not in _BINARY:
        return NewElement(path.vr.encode() or b"LO", str(value).encode())
    try:
        return NewElement(path.vr.encode(), struct.pack(_BINARY[path.vr], value))
    except struct.error as problem:
        raise ValueError(f"example value of {key!r} is no {path.vr}: {problem}; write another") from problem
