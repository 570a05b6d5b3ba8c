"""WADO-RS: frames, and what is too large for the metadata (PS3.18 10.4.1.1.4 and 10.4.1.1.5)."""

from __future__ import annotations

import array
import re
from collections.abc import Callable, Iterator
from functools import partial

from flask import Response, request
from werkzeug.exceptions import BadRequest, NotAcceptable, NotFound

from ..config import Route
from ..dicom.dataset import Dataset
from ..dicom.digest import PIXEL_DATA
from ..dicom.header import EXPLICIT_BIG, EXPLICIT_LITTLE, Header, read_header
from ..dicom.scan import MAX_NESTED, Element, Encoding, item_bounds, scan_elements
from ..errors import HeaderError, NotEncodable
from .frames import frame, frame_count
from .leaving import NATIVE, Instance, Leaving, first, has_pixels
from .multipart import Multipart, Part
from .negotiate import ANY, OCTETS, Form, Representation, accepted, choose_frames, frame_type
from .place import service_url
from .services import Services

MAX_FRAMES = 10_000
_FRAMES = re.compile("[1-9][0-9]{0,8}(?:,[1-9][0-9]{0,8})*")
_PATH = re.compile("(?:[0-9A-F]{8}/[1-9][0-9]{0,6}/){0,32}[0-9A-F]{8}")
# The size of the words that change their order in a big endian object (PS3.5 section 7.3).
_WORDS = {b"OW": "H", b"OF": "I", b"OL": "I", b"OD": "Q", b"OV": "Q"}


class Bulkdata:
    """Answers the Retrieve Transactions of Frames and Bulkdata of one route."""

    def __init__(self, services: Services, route: Route) -> None:
        self._services = services
        self._route = route

    def frames(self, study: str, series: str, sop: str, frames: str) -> Response:
        """These frames of an instance, numbered from 1, in the order that is asked for."""
        if not _FRAMES.fullmatch(frames) or frames.count(",") >= MAX_FRAMES:
            raise BadRequest(f"frames are numbers from 1 with commas between them, at most {MAX_FRAMES}")
        numbers = [int(number) for number in frames.split(",")]
        wanted = choose_frames(accepted(), single=len(numbers) == 1)
        instance = self._instance(study, series, sop)
        return self._pixels(instance, numbers, wanted)

    def bulkdata(self, study: str, series: str, sop: str, path: str) -> Response:
        """The value of one attribute, as the metadata name it; pixels come frame by frame."""
        if not _PATH.fullmatch(path):
            raise BadRequest("this is no path of bulk data; the metadata have their URIs")
        wanted = choose_frames(accepted(), single=True)
        instance = self._instance(study, series, sop)
        if path == f"{PIXEL_DATA:08X}" and instance.syntax not in NATIVE:
            return self._pixels(instance, list(range(1, frame_count(instance.header()) + 1)), wanted)
        if all(wish.syntax not in (ANY, EXPLICIT_LITTLE) for wish in wanted.wishes):
            raise NotAcceptable(f"this is served as {OCTETS}; send Accept: {OCTETS}")
        value = _value(instance.header(MAX_NESTED), path)
        return _answer(iter((partial(bytes, value),)), OCTETS, wanted.form, [service_url(request.path)])

    def _instance(self, study: str, series: str, sop: str) -> Instance:
        view = self._services.gate.view(self._route)
        return first(Leaving(self._services, view, (study, series, sop)).instances())

    def _pixels(self, instance: Instance, numbers: list[int], wanted: Representation) -> Response:
        if not has_pixels(instance.header()):
            raise NotFound("this object has no pixels, hence no frames")
        header, syntax, media_type = self._encoded(instance, wanted)
        if max(numbers) > frame_count(header):
            raise NotFound(f"this object has frames from 1 to {frame_count(header)}")
        made = [partial(frame, header, number) for number in numbers]
        place = service_url(request.path).rpartition("/")[0].removesuffix("/bulkdata").removesuffix("/frames")
        places = [f"{place}/frames/{number}" for number in numbers]
        form = wanted.form if len(numbers) == 1 else Form.PARTS
        try:
            return _answer(iter(made), f"{media_type}; transfer-syntax={syntax}", form, places)
        except (NotEncodable, HeaderError) as problem:
            raise NotAcceptable(f"the frames cannot be told apart: {problem}") from problem

    def _encoded(self, instance: Instance, wanted: Representation) -> tuple[Header, str, str]:
        """The object to take frames from, their transfer syntax, and its media type."""
        stored = instance.syntax
        # Native pixels are the same bytes in all little endian syntaxes.
        label = EXPLICIT_LITTLE if stored in NATIVE - {EXPLICIT_BIG} else stored
        for wish in wanted.preferred(label):
            if wish.syntax == ANY:
                return instance.header(), label, frame_type(label)
            if wish.syntax == label:
                return instance.header(), label, wish.media_type
            try:
                data = self._services.codec.transcode(instance.data, instance.header(), wish.syntax)
                return read_header(data), wish.syntax, wish.media_type
            except (NotEncodable, HeaderError):
                continue
        raise NotAcceptable(
            f"the pixels are stored in the transfer syntax {stored}, as {frame_type(label)}, and cannot "
            f'be had as what is asked for; send Accept: multipart/related; type="{OCTETS}"; transfer-syntax=*'
        )


def _answer(
    values: Iterator[Callable[[], bytes]], media_type: str, form: Form, places: list[str]
) -> Response:
    """The first value is made before the status is sent, the others while the answer is under way."""
    begun = next(values)()
    if form is Form.SINGLE:
        return Response(begun, content_type=media_type)

    def parts() -> Iterator[Part]:
        yield Part(media_type, begun, places[0])
        for make, place in zip(values, places[1:], strict=True):
            yield Part(media_type, make(), place)

    message = Multipart(parts(), media_type.partition(";")[0])
    return Response(iter(message), content_type=message.media_type)


def _value(header: Header, path: str) -> bytes:
    """The octets of a value, words in little endian order; text as it is stored. Raises NotFound."""
    steps = path.split("/")
    found: Dataset = header
    for step, number in zip(steps[:-1:2], steps[1::2], strict=True):
        items = found.items(int(step, 16), MAX_NESTED)
        if int(number) > len(items):
            raise NotFound("this object has no such attribute")
        found = items[int(number) - 1]
    tag = int(steps[-1], 16)
    elements = found.elements
    if found is header:
        behind = scan_elements(header.buffer, header.pixel_start, len(header.buffer), header.encoding)
        elements = {**elements, **behind.elements}
    if tag not in elements:
        raise NotFound("this object has no such attribute")
    return _octets(header.buffer, elements[tag], found.encoding)


def _octets(buffer: bytes, element: Element, encoding: Encoding) -> bytes:
    if element.undefined:
        fragments = list(item_bounds(buffer, element, encoding, MAX_NESTED))
        # The first Item is the Basic Offset Table (PS3.5 section A.4).
        return b"".join(buffer[start:end] for start, end in fragments[1:])
    value = buffer[element.value : element.end]
    code = _WORDS.get(element.vr)
    if encoding.little or code is None:
        return value
    words = array.array(code, value[: len(value) - len(value) % array.array(code).itemsize])
    words.byteswap()
    return words.tobytes()
