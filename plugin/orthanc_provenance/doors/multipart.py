"""Instances one after the other, as the parts of one message (PS3.18 section 8.6.1.2; RFC 2387)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Part(NamedTuple):
    """One part: the media type and the bytes of an instance, and the URL by which it can be had alone."""

    media_type: str
    data: bytes
    location: str = ""


class Multipart:
    """A message of `parts` of type `root`, of which one is in memory at a time; `media_type` is its own type.

    The boundary is random: nobody who stores an object can know it, so no object can end its part early.
    """

    def __init__(self, parts: Iterable[Part], root: str) -> None:
        self._parts = parts
        self._boundary = uuid.uuid4().hex
        self.media_type = f'multipart/related; type="{root}"; boundary={self._boundary}'

    def __iter__(self) -> Iterator[bytes]:
        """The bytes of the message. A part that cannot be made raises: the message has no end then."""
        for part in self._parts:
            location = f"Content-Location: {part.location}\r\n" if part.location else ""
            yield (
                f"\r\n--{self._boundary}\r\nContent-Type: {part.media_type}\r\n"
                f"Content-Length: {len(part.data)}\r\n{location}\r\n"
            ).encode("ascii")
            yield part.data
            # What was sent must not wait in memory while the next part is read.
            del part
        yield f"\r\n--{self._boundary}--\r\n".encode("ascii")
