"""What a door needs from the rest of the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..config import Settings
from ..gate import Gate


@dataclass(frozen=True, slots=True)
class Services:
    """Handed to every door.

    `read` gives the stored bytes of an instance by its Orthanc identifier and raises NotStored. `stamp` gives
    the bytes as they may leave, for stored bytes and their row of the index (as `View.read` returns both); it
    raises HeaderError or StampError where the bytes are not the object that the row describes.
    """

    settings: Settings
    gate: Gate
    read: Callable[[str], bytes]
    stamp: Callable[[bytes, Mapping[str, Any]], bytes]
