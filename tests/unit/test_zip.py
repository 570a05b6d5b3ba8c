"""ZIP archives made while they are sent."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import pytest

from orthanc_provenance.doors.zip import zipped

FILES = [("1.2/1.2.1.dcm", b"one" * 1000), ("1.2/1.2.2.dcm", b""), ("1.3/1.3.1.dcm", bytes(70000))]


def test_what_was_sent_can_be_unpacked() -> None:
    with ZipFile(BytesIO(b"".join(zipped(FILES)))) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == FILES
        assert {member.compress_type for member in archive.infolist()} == {ZIP_STORED}


def test_every_member_has_its_length_in_front_of_it() -> None:
    data = b"".join(zipped(FILES))
    with ZipFile(BytesIO(data)) as archive:
        for member in archive.infolist():
            flags, crc, size = struct.unpack_from("<6xH6xII", data, member.header_offset)
            assert flags & 0x08 == 0
            assert (crc, size) == (member.CRC, member.file_size)


def test_each_file_is_sent_before_the_next_is_made() -> None:
    made: list[int] = []
    sent = bytearray()

    def files() -> Iterator[tuple[str, bytes]]:
        for number in range(3):
            made.append(len(sent))
            yield f"{number}.dcm", bytes(1000)

    for part in zipped(files()):
        sent += part
    assert all(size >= 1000 * number for number, size in enumerate(made))


def test_an_archive_that_breaks_off_is_none() -> None:
    def files() -> Iterator[tuple[str, bytes]]:
        yield FILES[0]
        raise LookupError

    sent: list[bytes] = []
    with pytest.raises(LookupError):
        sent.extend(zipped(files()))
    assert sent
    with pytest.raises(BadZipFile):
        ZipFile(BytesIO(b"".join(sent)))
