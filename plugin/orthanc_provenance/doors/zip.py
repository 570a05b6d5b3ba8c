"""A ZIP archive made while it is sent (PS3.18 section 8.7.3.2, `application/zip`).

By the standard library, for which a window on the archive is enough: it goes back only to the header of the
member that it has just written. So every header has its length and checksum, which readers need that take an
archive from a pipe, and no data descriptors, over which some of them stumble. Members are stored, not
deflated: pixels gain little, and the server of a hospital has better to do. ZIP64 comes by itself.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from zipfile import ZIP_STORED, ZipFile, ZipInfo


class _Window(io.RawIOBase):
    """The end of a file that is being written; what lies before it was taken out by `take`."""

    def __init__(self) -> None:
        self._start = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._position = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._start + self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the window. Raises OSError where it lies before it."""
        target = offset - self._start if whence == io.SEEK_SET else self._size + offset
        if whence == io.SEEK_CUR or not 0 <= target <= self._size:
            raise OSError("this part of the archive is gone already")
        self._position = target
        return self.tell()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Append, or overwrite a part that was appended as a whole, as the header of a member is."""
        if self._position == self._size:
            self._parts.append(bytes(data))
            self._size += len(data)
        else:
            self._overwrite(bytes(data))
        self._position += len(data)
        return len(data)

    def take(self) -> list[bytes]:
        """Everything in the window, which is empty then."""
        parts, self._parts = self._parts, []
        self._start += self._size
        self._size = self._position = 0
        return parts

    def _overwrite(self, data: bytes) -> None:
        at = 0
        for number, part in enumerate(self._parts):
            if at == self._position and len(part) == len(data):
                self._parts[number] = data
                return
            at += len(part)
        raise OSError("only a part that was written as a whole can be written again")


def zipped(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """The bytes of an archive of `files`, name and content each, of which one is in memory at a time.

    Names carry UIDs only, and members no time: the same objects make the same archive. A file that cannot be
    made raises: the archive has no directory then, and no tool takes it for whole.
    """
    window = _Window()
    with ZipFile(window, "w", ZIP_STORED) as archive:
        for name, data in files:
            member = ZipInfo(name)
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)
            del data
            yield from window.take()
    yield from window.take()
