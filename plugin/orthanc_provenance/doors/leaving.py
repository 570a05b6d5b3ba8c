"""One instance after the other, read through the gate, as each may leave."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from werkzeug.exceptions import NotAcceptable, NotFound

from ..dicom.dataset import MAX_IN_ITEMS
from ..dicom.digest import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, PIXEL_DATA
from ..dicom.header import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Header, read_header
from ..dicom.scan import Encoding, scan_elements
from ..errors import HeaderError, NotEncodable, NotStored, StampError, Withdrawn
from ..gate import Taken, View
from ..index.query import Released
from .ahead import ahead, in_pairs
from .negotiate import ANY, Representation
from .qido import check_uid
from .services import Services

log = logging.getLogger(__name__)

NATIVE = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED))
_PREAMBLE = 132
_TRANSFER_SYNTAX = 0x00020010
_DATASET = 0x00030000
_T = TypeVar("_T")
Also = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as it may leave: its bytes, stamped, their transfer syntax, and its row of the index."""

    released: Released
    data: bytes
    syntax: str
    row: Mapping[str, Any]

    def header(self, max_in_items: int = MAX_IN_ITEMS) -> Header:
        """The header of these bytes, read anew; see `read_header`."""
        return read_header(self.data, max_in_items)


class Leaving:
    """What one view lets out of a study, series or instance; every object passes `View.read`."""

    def __init__(self, services: Services, view: View, uids: tuple[str, str, str]) -> None:
        self._services = services
        self._view = view
        self.found = view.released(*(uid and check_uid(uid) for uid in uids))

    def instances(self, also: Also | None = None) -> Iterator[Instance]:
        """Every instance that may leave, in the order of `found`; some are read ahead.

        `also` is called with Orthanc's identifier and the stored bytes of each while the gate watches, on
        another thread: whatever else is read of the object there belongs to what is given out, or nothing is.
        What may not leave any more before the first is given out is left out. Raises Unreadable where a file
        is lost, and Withdrawn where one may not leave any more after that: an answer without it would pass
        for the whole.
        """
        return self._stamped(self.found, also)

    def _stamped(self, found: list[Released], also: Also | None) -> Iterator[Instance]:
        def read(instance: str) -> bytes | None:
            data = self._read(instance)
            if data is not None and also is not None:
                also(instance, data)
            return data

        taken: Generator[Taken, None, None] = self._view.read_all(
            found, lambda instances: in_pairs(read, instances)
        )
        if len(found) > 1:
            taken = ahead(taken, lambda item: len(item.data or b""))
        has_begun = False
        with closing(taken):
            for item in taken:
                instance = self._instance(item) if self._view.may_leave(item) else None
                del item
                if instance is not None:
                    has_begun = True
                    yield instance
                elif has_begun:
                    raise Withdrawn("an object may not leave any more: the answer breaks off")
                # What was sent must not wait in memory while the next one is made.
                del instance

    def _read(self, instance: str) -> bytes | None:
        try:
            return self._services.read(instance)
        except NotStored:
            return None

    def _instance(self, item: Taken) -> Instance | None:
        """An instance as it leaves; None where it may not, or is not the object that the row describes."""
        if item.data is None:
            return None
        try:
            data = self._services.stamp(item.data, item.row)
            return Instance(item.released, data, stated_syntax(data), item.row)
        except (HeaderError, StampError) as problem:
            log.warning("SOP instance %s stays in: %s", item.released.sop_uid, problem)
            return None

    def check(self, wanted: Representation) -> None:
        """Try one instance of every transfer syntax in every series, because an answer can only break off.

        Raises NotAcceptable where one cannot be had as wanted.
        """
        tried: set[tuple[str, str]] = set()
        for released in self.found:
            stored = self._services.codec.stored_syntax(released.instance)
            if (released.series_uid, stored) not in tried:
                for instance in self._stamped([released], None):
                    self._encoded(instance, wanted)
                tried |= {(released.series_uid, stored)} if stored else set()

    def encoded(self, wanted: Representation) -> Iterator[Instance]:
        """Every instance in a syntax that is wanted. Raises NotAcceptable where one cannot be had in any."""
        for instance in self.instances():
            yield self._encoded(instance, wanted)
            del instance

    def _encoded(self, instance: Instance, wanted: Representation) -> Instance:
        problems: list[str] = []
        for wish in wanted.preferred(instance.syntax):
            if wish.syntax in (ANY, instance.syntax):
                return instance
            try:
                return self._transcoded(instance, wish.syntax)
            except (NotEncodable, HeaderError, StampError) as problem:
                problems.append(str(problem))
        if instance.syntax in NATIVE and not has_pixels(instance.header()):
            # A syntax for pixels does not apply to what has none (PS3.18 section 8.7.3.3).
            return instance
        log.info("SOP instance %s: %s", instance.released.sop_uid, "; ".join(problems))
        raise NotAcceptable(
            f"an instance is stored in the transfer syntax {instance.syntax} and cannot be had in the ones "
            "that are asked for; ask for transfer-syntax=*"
        )

    def _transcoded(self, instance: Instance, syntax: str) -> Instance:
        transcoded = self._services.codec.transcode(instance.data, instance.header(), syntax)
        data = self._services.restamp(transcoded, instance.row)
        return replace(instance, data=data, syntax=stated_syntax(data))


def stated_syntax(data: bytes) -> str:
    """The transfer syntax of a DICOM file; by its file meta information, where it has one (PS3.10 7.1)."""
    if data[_PREAMBLE - 4 : _PREAMBLE + 2] == b"DICM\x02\x00":
        found = scan_elements(data, _PREAMBLE, len(data), Encoding(), stop_at=_DATASET).elements
        if _TRANSFER_SYNTAX in found:
            element = found[_TRANSFER_SYNTAX]
            return data[element.value : element.end].decode("ascii", "replace").strip(" \0")
    return read_header(data).transfer_syntax


def has_pixels(header: Header) -> bool:
    """Whether the object has Pixel Data, Float or Double Float Pixel Data (PS3.3 section C.7.6.3)."""
    pixels = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)
    found = scan_elements(header.buffer, header.pixel_start, len(header.buffer), header.encoding).elements
    return any(tag in found for tag in pixels)


def first(items: Iterable[_T]) -> _T:
    """The first of `items`, made before the status of the answer is sent. Raises NotFound."""
    for item in items:
        return item
    raise NotFound("there is no such study, series or instance")
