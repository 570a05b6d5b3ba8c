from __future__ import annotations

import struct

import pytest

from orthanc_provenance.dicom.scan import MAX_ELEMENTS, PIXEL_GROUP, Encoding, scan_elements
from orthanc_provenance.errors import HeaderError

PIXELS = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 0)


def elements(count: int) -> bytes:
    """As many empty elements as that, with ascending tags."""
    tags = (0x00090000 + number for number in range(count))
    return b"".join(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"LO", 0) for tag in tags)


@pytest.mark.parametrize("behind", [b"", PIXELS], ids=["alone", "before pixels"])
def test_as_many_elements_as_allowed_are_read(behind: bytes) -> None:
    data = elements(MAX_ELEMENTS) + behind

    found = scan_elements(data, 0, len(data), Encoding(), stop_at=PIXEL_GROUP)

    assert len(found.elements) == found.steps == MAX_ELEMENTS
    assert found.stop == len(data) - len(behind)


@pytest.mark.parametrize("behind", [b"", PIXELS], ids=["alone", "before pixels"])
def test_one_element_more_is_refused(behind: bytes) -> None:
    data = elements(MAX_ELEMENTS + 1) + behind

    with pytest.raises(HeaderError, match="more than"):
        scan_elements(data, 0, len(data), Encoding(), stop_at=PIXEL_GROUP)


def test_the_end_of_an_item_ends_the_walk_wherever_it_was_to_stop() -> None:
    data = elements(2) + struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + elements(1)

    assert scan_elements(data, 0, len(data), Encoding()).stop == len(elements(2))
