from __future__ import annotations

import struct

import pytest
from evidence_samples import (
    DATA,
    DICOMATOR,
    VICTRE,
    labels,
    shipped,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.charset import python_encoding

from orthanc_provenance.assessment import assess
from orthanc_provenance.dicom.encode import NewElement, encode
from orthanc_provenance.dicom.header import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    read_header,
)
from orthanc_provenance.dicom.scan import LONG_VRS, SHORT_VRS, Encoding
from orthanc_provenance.errors import HeaderError
from orthanc_provenance.evidence.acquisition import shipped_acquisition
from orthanc_provenance.evidence.examples import example_elements
from orthanc_provenance.evidence.explain import explain
from orthanc_provenance.evidence.matcher import match
from orthanc_provenance.model import Origin

MARKERS = shipped().markers


def _tags_of_interest() -> list[int]:
    plan = shipped().plan
    rules = shipped_acquisition().rules
    acquisition = {
        tag for rule in rules for group in rule.groups for tags in group.alternatives for tag in tags
    }
    ways = {tag for rule in rules for way in rule.inside for tag in way}
    creators = {(group << 16) | 0x10 for group in plan.private_groups}
    nested = {step.tag for marker in MARKERS for path in marker.paths for step in path.steps}
    return sorted(
        {*plan.direct, *plan.nested, *acquisition, *ways, *creators, *nested, 0x00080005, 0x00080016}
    )


_TAGS = st.one_of(st.sampled_from(_tags_of_interest()), st.integers(0x00080000, 0x7FDFFFFF))
_VRS = st.one_of(
    st.sampled_from(sorted({bytes(vr) for vr in LONG_VRS | SHORT_VRS})), st.binary(min_size=2, max_size=2)
)
_CHARACTER_SETS = st.lists(
    st.sampled_from([*python_encoding, "\\", "zlib", "ISO 2022 IR 999", "\0"]), max_size=3
)
_SAID = [
    element.value
    for table in (*(table for marker in MARKERS for table in marker.match), VICTRE, DICOMATOR)
    for _, element in example_elements(table)
    if isinstance(element.value, bytes)
]
_VALUES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(_SAID),
    st.sampled_from(
        [rule_class.encode() for rule in shipped_acquisition().rules for rule_class in rule.sop_classes]
    ),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b"\x1b$B\xff\xff", b"\x1b(J\x1b$)C\xc0", b"\xff\xfe\\\xc3(", b"9" * 700, b"\\" * 200]),
)


@st.composite
def _data_sets(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Elements of any tag and VR in any order, with lengths that are right, undefined, or neither."""
    encoded = b""
    for _ in range(draw(st.integers(0, 6))):
        tag, vr = draw(_TAGS), draw(_VRS)
        if depth and draw(st.booleans()):
            vr, value = draw(st.sampled_from([b"SQ", b"UN"])), draw(_sequences(depth - 1))
        else:
            value = draw(_VALUES)
        length = draw(st.sampled_from([len(value)] * 12 + [0xFFFFFFFF, len(value) + 1, 0, 0x7FFFFFFF]))
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
        head += struct.pack("<HI", 0, length) if vr in LONG_VRS else struct.pack("<H", length & 0xFFFF)
        encoded += head + value
    return encoded


@st.composite
def _sequences(draw: st.DrawFn, depth: int) -> bytes:
    encoded = b""
    for _ in range(draw(st.integers(0, 3))):
        item = draw(_data_sets(depth=depth))
        defined = draw(st.booleans())
        length = draw(st.sampled_from([len(item)] * 8 + [len(item) + 9])) if defined else 0xFFFFFFFF
        end = b"" if defined else struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        encoded += struct.pack("<HHI", 0xFFFE, 0xE000, length) + item + end
    return encoded + draw(st.sampled_from([b"", struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)]))


@settings(max_examples=120, deadline=None)
@given(
    body=_data_sets(),
    names=_CHARACTER_SETS,
    sop_class=_VALUES,
    syntax=st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, "1.2.3", ""]),
)
def test_no_header_crashes_the_engine(body: bytes, names: list[str], sop_class: bytes, syntax: str):
    first = (
        (0x00080005, NewElement(b"CS", "\\".join(names).encode())),
        (0x00080016, NewElement(b"UI", sop_class)),
    )
    front = b"".join(encode(tag, element, Encoding()) for tag, element in first)
    meta = encode(0x00020010, NewElement(b"UI", syntax.encode()), Encoding())
    survives(bytes(128) + b"DICM" + meta + front + body)


@pytest.mark.skipif(not labels(), reason="the real test files are not present")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damaged_or_cut_file_crashes_the_engine(data: st.DataObject):
    path = data.draw(st.sampled_from([label["path"] for label in labels()]))
    content = bytearray((DATA / path).read_bytes()[:30_000])
    for _ in range(data.draw(st.integers(0, 12))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(content[: data.draw(st.integers(0, len(content)))]))


def survives(data: bytes) -> None:
    """All that the engine does with an object; only the documented errors may come out."""
    try:
        header = read_header(data)
        assessment = assess(header, shipped())
        explanation = explain(shipped(), header)
    except HeaderError:
        return
    assert explanation.matched == match(shipped(), header)
    assert isinstance(assessment.origin, Origin)
    assert all(evidence.value.isprintable() for evidence in assessment.evidence)
