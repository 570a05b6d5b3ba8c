"""What a door needs from the rest of the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from ..config import Settings
from ..dicom.header import Header
from ..errors import NotEncodable, StampError
from ..gate import Gate


class Codec(Protocol):
    """What the archive can make of a stored object. Only called on threads with normal stacks."""

    def stored_syntax(self, instance: str) -> str:
        """The transfer syntax that an instance is stored in, by its Orthanc identifier; "" where unknown."""

    def transcode(self, data: bytes, header: Header, syntax: str) -> bytes:
        """`data`, of which `header` is the header, in another syntax, without loss. Raises NotEncodable."""

    def render(
        self, instance: str, frame: int, window: tuple[float, float] | None, size: int | None
    ) -> bytes:
        """One frame (from 1) as PNG: windowed by center and width, or as the object says where None.

        `size` bounds width and height in pixels where it is given. Raises NotEncodable where there is no such
        frame or no such picture.
        """


class PlainCodec:
    """The codec of an archive that gives objects as they are stored, and nothing else."""

    def stored_syntax(self, instance: str) -> str:
        """Unknown."""
        return ""

    def transcode(self, data: bytes, header: Header, syntax: str) -> NoReturn:
        """Raises NotEncodable."""
        raise NotEncodable(f"nothing is transcoded here, not to {syntax}")

    def render(
        self, instance: str, frame: int, window: tuple[float, float] | None, size: int | None
    ) -> NoReturn:
        """Raises NotEncodable."""
        raise NotEncodable(f"nothing is rendered here, not frame {frame}")


_PLAIN = PlainCodec()


def _no_stamp(_data: bytes, _row: Mapping[str, Any]) -> NoReturn:
    raise StampError("nothing is transcoded here, hence nothing stamped anew")


@dataclass(frozen=True, slots=True)
class Services:
    """Handed to every door.

    `read` gives the stored bytes of an instance by its Orthanc identifier and raises NotStored. `stamp` gives
    the bytes as they may leave, for stored bytes and their row of the index (as `View.read` returns both); it
    raises HeaderError or StampError where the bytes are not the object that the row describes. `restamp` does
    so for what `codec` has transcoded from those. `catalogue` is the revision of the marker catalogue;
    `sign` makes the envelope of an in-toto Statement, None where nothing is signed.
    """

    settings: Settings
    gate: Gate
    read: Callable[[str], bytes]
    stamp: Callable[[bytes, Mapping[str, Any]], bytes]
    restamp: Callable[[bytes, Mapping[str, Any]], bytes] = _no_stamp
    codec: Codec = _PLAIN
    catalogue: str = ""
    sign: Callable[[Mapping[str, Any]], bytes] | None = None
