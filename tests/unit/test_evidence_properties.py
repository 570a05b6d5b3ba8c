from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from evidence_samples import (
    BASIC_TEXT_SR,
    CONVERTED,
    DATA,
    DICOMATOR,
    MONAI_DEPLOY,
    PRESENTATION_STATE,
    REAL_CT,
    REAL_MR,
    REAL_US,
    SECONDARY_CAPTURE,
    VICTRE,
    Table,
    labels,
    merged,
    shipped,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_provenance.assessment import assess
from orthanc_provenance.dicom.dataset import Dataset
from orthanc_provenance.dicom.encode import IMPLICIT_LITTLE_ENDIAN, Item, NewElement, encode, encode_items
from orthanc_provenance.dicom.header import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Header,
    read_header,
)
from orthanc_provenance.dicom.scan import Encoding, Tag
from orthanc_provenance.dicom.splice import splice
from orthanc_provenance.errors import StampError
from orthanc_provenance.evidence.examples import example_elements, example_header
from orthanc_provenance.evidence.marker import Marker
from orthanc_provenance.evidence.matcher import match
from orthanc_provenance.model import Axis, Origin

MARKERS = shipped().markers
BASES: tuple[Table, ...] = (
    REAL_CT,
    REAL_MR,
    REAL_US,
    *CONVERTED,
    VICTRE,
    DICOMATOR,
    MONAI_DEPLOY,
    {"SOPClassUID": SECONDARY_CAPTURE},
    {"SOPClassUID": PRESENTATION_STATE},
    {"SOPClassUID": BASIC_TEXT_SR},
)
PRIVACY = [marker for marker in MARKERS if marker.axis is Axis.PRIVACY]
PRIVACY_TABLES = [table for marker in PRIVACY for table in marker.match]
OTHER_TABLES = [table for marker in MARKERS if marker.axis is not Axis.PRIVACY for table in marker.match]
MADE = {Origin.AI_DERIVED, Origin.AI_GENERATED, Origin.SIMULATED}
PATHS = [label["path"] for label in labels()]
ACQUIRED = [label["path"] for label in labels() if label["origin"] == ["acquired"]]


def judge(*tables: Table) -> Origin:
    return origin_of(example_header(merged(*tables)))


def origin_of(header: Header) -> Origin:
    return assess(header, shipped()).origin


@cache
def real(path: str) -> Header:
    """The header of a real file, in a buffer without its pixels."""
    whole = read_header((DATA / path).read_bytes())
    return Header(whole.buffer[: whole.pixel_start], whole.dataset_start, whole.transfer_syntax, whole.meta)


# Adding privacy evidence


def with_added(header: Header, marker: Marker, table: Table) -> Header | None:
    """`header` with what `table` says: as new elements, new Items, or new values of what is there.

    None where the object cannot be written to at all. What `marker` only asks about in its guards stays.
    """
    said = {path.steps[0].tag for path in marker.paths}
    additions: dict[Tag, NewElement] = {}
    buffer = bytearray(header.buffer)
    for tag, element in example_elements(_in_a_free_block(header, table)):
        there = header.elements.get(tag)
        if there is None or element.vr == b"SQ":
            additions[tag] = element
        elif tag in said and isinstance(element.value, bytes):
            del buffer[there.start : there.end]
            value = (header.raw(tag) + b"\\" + element.value).lstrip(b"\\")
            additions[tag] = NewElement(element.vr, value)
            header = _parsed(bytes(buffer), header)
    try:
        return _parsed(splice(_complete(header), additions), header, meta_again=True)
    except StampError:
        return None


def _in_a_free_block(header: Header, table: Table) -> Table:
    """`table` without private elements of groups in which the file has reserved blocks of its own."""
    taken = {tag >> 16 for tag in header.elements if tag >> 16 & 1}
    return {key: value for key, value in table.items() if '"' not in key or int(key[1:5], 16) not in taken}


def _parsed(buffer: bytes, like: Header, meta_again: bool = False) -> Header:
    if meta_again:
        return read_header(buffer)
    return Header(buffer, like.dataset_start, like.transfer_syntax, like.meta)


def _complete(header: Header) -> Header:
    """The same Data Set behind file meta information that says how it is encoded."""
    syntax = header.transfer_syntax if header.transfer_syntax in _PLAIN else EXPLICIT_LITTLE
    uid = encode(0x00020010, NewElement(b"UI", syntax.encode()), Encoding())
    return read_header(bytes(128) + b"DICM" + uid + header.buffer[header.dataset_start :])


_PLAIN = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)


@pytest.mark.parametrize("path", PATHS)
def test_no_privacy_marker_moves_the_origin_of_a_real_file(path: str):
    before = origin_of(real(path))
    tried = 0
    for marker in PRIVACY:
        for table in marker.match:
            protected = with_added(real(path), marker, table)
            if protected is not None:
                tried += 1
                assert origin_of(protected) is before, (marker.id, table)
    assert tried, "no marker could be tried"


@pytest.mark.parametrize("table", PRIVACY_TABLES, ids=str)
@pytest.mark.parametrize("base", BASES, ids=lambda base: str(base.get("Manufacturer", base["SOPClassUID"])))
def test_no_privacy_marker_moves_the_origin_of_any_kind_of_object(base: Table, table: Table):
    assert judge(base, table) is judge(base)


@settings(deadline=None)
@given(
    base=st.sampled_from(BASES),
    others=st.lists(st.sampled_from(OTHER_TABLES), max_size=3),
    privacy=st.lists(st.sampled_from(PRIVACY_TABLES), min_size=1, max_size=4),
)
def test_no_privacy_evidence_ever_moves_the_origin_or_the_label(
    base: Table, others: list[Table], privacy: list[Table]
):
    before = assess(example_header(merged(*others, base)), shipped())
    after = assess(example_header(merged(*others, base, *privacy)), shipped())
    assert after.origin is before.origin
    assert after.labelled is before.labelled


# Removing elements


def without(header: Header, tags: set[int]) -> Header:
    stripped = Header(header.buffer, header.dataset_start, header.transfer_syntax, header.meta)
    for tag in tags:
        del stripped.elements[tag]
    return stripped


def nested_elements(dataset: Dataset) -> Iterator[tuple[int, Dataset]]:
    """Where each element inside Sequences starts, at whatever depth, and the Item that holds it."""
    waiting = [dataset]
    while waiting:
        place = waiting.pop()
        for tag in place.elements:
            for item in place.items(tag):
                yield from ((element.start, item) for element in item.elements.values())
                waiting.append(item)


_REMOVED = struct.pack("<HH", 0x0BAD, 0x0BAD), struct.pack(">HH", 0x0BAD, 0x0BAD)


def without_nested(header: Header, start: int, item: Dataset) -> Header:
    """`header` with the nested element at `start` under a tag that nothing looks at: as good as gone."""
    tag = _REMOVED[0] if item.encoding.little else _REMOVED[1]
    buffer = header.buffer[:start] + tag + header.buffer[start + 4 :]
    return Header(buffer, header.dataset_start, header.transfer_syntax, header.meta)


@pytest.mark.parametrize("path", ACQUIRED)
def test_removing_an_element_of_a_real_file_turns_nothing_acquired_synthetic(path: str):
    header = real(path)
    assert origin_of(header) is Origin.ACQUIRED
    assert not {origin_of(without(header, {tag})) for tag in header.elements} & MADE


@pytest.mark.parametrize("path", ACQUIRED)
def test_removing_an_element_inside_a_sequence_turns_nothing_acquired_synthetic(path: str):
    header = real(path)
    assert origin_of(header) is Origin.ACQUIRED
    origins = {origin_of(without_nested(header, start, item)) for start, item in nested_elements(header)}
    assert not origins & MADE


@settings(deadline=None)
@given(
    base=st.sampled_from([REAL_CT, REAL_MR, REAL_US]),
    extra=st.lists(st.sampled_from(PRIVACY_TABLES + OTHER_TABLES), max_size=3),
    data=st.data(),
)
def test_stripping_a_header_turns_nothing_acquired_synthetic(
    base: Table, extra: list[Table], data: st.DataObject
):
    header = example_header(merged(base, *extra))
    before = origin_of(header)
    removed = data.draw(st.sets(st.sampled_from(sorted(header.elements))))
    if before is Origin.ACQUIRED:
        assert origin_of(without(header, removed)) not in MADE


@pytest.mark.skipif(not labels(), reason="the real test files are not present")
@settings(deadline=None)
@given(data=st.data())
def test_stripping_much_of_a_real_file_turns_nothing_acquired_synthetic(data: st.DataObject):
    header = real(data.draw(st.sampled_from(PATHS)))
    removed = data.draw(st.sets(st.sampled_from(sorted(header.elements))))
    if origin_of(header) is Origin.ACQUIRED:
        assert origin_of(without(header, removed)) not in MADE


# Ways to write the same


def as_header(item: Item, encoding: Encoding, syntax: str) -> Header:
    encoded = b"".join(encode(tag, element, encoding) for tag, element in item if tag >> 16 > 2)
    meta = b"".join(encode(tag, element, Encoding()) for tag, element in item if tag >> 16 == 2)
    meta += encode(0x00020010, NewElement(b"UI", syntax.encode()), Encoding())
    return read_header(bytes(128) + b"DICM" + meta + encoded)


_CHARACTER_SET = 0x00080005
_TEXT_VRS = frozenset(b"AE AS CS DS IS LO LT PN SH ST UC UI UT".split())


def changed(item: Item, change: Callable[[NewElement], NewElement]) -> Item:
    """`item` with all its elements changed, those inside its Sequences first."""
    found = []
    for tag, element in item:
        if isinstance(element.value, tuple):
            inside = tuple(changed(part, change) for part in element.value)
            element = NewElement(element.vr, inside)
        found.append((tag, element if tag == _CHARACTER_SET else change(element)))
    return tuple(found)


def _unknown(element: NewElement) -> NewElement:
    """UN holds Implicit VR Little Endian (PS3.5 section 6.2.2)."""
    if isinstance(element.value, tuple):
        return NewElement(b"UN", encode_items(element.value, IMPLICIT_LITTLE_ENDIAN))
    return NewElement(b"UN", element.value)


def _text(change: Callable[[bytes], bytes]) -> Callable[[NewElement], NewElement]:
    def apply(element: NewElement) -> NewElement:
        if isinstance(element.value, bytes) and element.vr in _TEXT_VRS:
            return NewElement(element.vr, change(element.value))
        return element

    return apply


def _each_value(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda value: b"\\".join(change(part) for part in value.split(b"\\"))


EXPLICIT = Encoding()
WAYS: dict[str, Callable[[Item], Header]] = {
    "implicit": lambda item: as_header(item, IMPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE),
    "big endian": lambda item: as_header(item, Encoding(little=False), EXPLICIT_BIG),
    "unknown": lambda item: as_header(changed(item, _unknown), EXPLICIT, EXPLICIT_LITTLE),
    "capitals": lambda item: as_header(changed(item, _text(bytes.upper)), EXPLICIT, EXPLICIT_LITTLE),
    "small letters": lambda item: as_header(changed(item, _text(bytes.lower)), EXPLICIT, EXPLICIT_LITTLE),
    "blanks": lambda item: as_header(
        changed(item, _text(_each_value(lambda part: b"  " + part + b" "))), EXPLICIT, EXPLICIT_LITTLE
    ),
    "nul": lambda item: as_header(
        changed(item, _text(lambda value: value + b"\0\0")), EXPLICIT, EXPLICIT_LITTLE
    ),
}
# GaN is a semiconductor, Roentgen a word: for these the letters' case is what tells.
CASE_TELLS = frozenset(
    marker.id for marker in MARKERS if any("(?-i:" in word for word in marker.pattern.words)
)


@pytest.mark.parametrize("way", WAYS)
def test_a_marker_matches_however_its_value_is_written(way: str):
    for marker in MARKERS:
        if marker.id in CASE_TELLS and way in ("capitals", "small letters"):
            continue
        for table in marker.match:
            item = example_elements({"(0008,0005)": "ISO_IR 192", **table})
            found = {evidence.marker for evidence in match(shipped(), WAYS[way](item))}
            assert marker.id in found, table


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("base", BASES, ids=lambda base: str(base.get("Manufacturer", base["SOPClassUID"])))
def test_an_object_has_one_origin_however_it_is_written(base: Table, way: str):
    assert origin_of(WAYS[way](example_elements(base))) is judge(base)


_ANY = (0x00200013, NewElement(b"IS", b"1"))
_LONGEST = {b"CS": 16, b"SH": 16, b"LO": 64, b"AE": 16}


def test_a_value_cut_to_the_longest_of_its_vr_matches_as_the_whole_does():
    cut = 0
    for marker in MARKERS:
        if marker.pattern.kind not in ("equals", "prefix"):
            continue
        for table in marker.match:
            item = example_elements(table)
            too_long = {
                tag: _LONGEST[element.vr]
                for tag, element in item
                if isinstance(element.value, bytes) and len(element.value) > _LONGEST.get(element.vr, 1 << 30)
            }
            if not too_long:
                continue
            cut += 1
            shorter = tuple(
                (tag, NewElement(element.vr, element.value[: too_long[tag]]) if tag in too_long else element)
                for tag, element in item
                if isinstance(element.value, bytes) or tag not in too_long
            )
            header = as_header((*shorter, _ANY), EXPLICIT, EXPLICIT_LITTLE)
            assert marker.id in {evidence.marker for evidence in match(shipped(), header)}, table
    assert cut
