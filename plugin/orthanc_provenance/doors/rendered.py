"""WADO-RS: pictures of studies, series, instances and frames (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.6).

Whatever the gate lets out of an object it lets out as a picture too. A picture of what is synthetic or
AI-derived carries its label, see `banner`. Each picture is made when the one before it is on its way, so that
nothing more is made for a client who has left.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from flask import Response, request
from werkzeug.exceptions import BadRequest, NotAcceptable, ServiceUnavailable

from ..config import Route
from ..dicom.header import read_header
from ..errors import HeaderError, NotEncodable, Withdrawn
from ..index.rows import read_assessment
from .banner import LABELS
from .frames import frame_size
from .leaving import Instance, Leaving, first
from .multipart import Multipart, Part
from .negotiate import Form, accepted, choose_picture
from .pictures import Asked, picture, read_asked, read_whole, side_to_render
from .services import Services
from .sigmoid import bend, windows

THUMBNAIL = (256, 256)
AT_ONCE = 4
"""So many pictures are made at once on one route: each takes a processor and tens of megabytes."""

WAIT_SECONDS = 10.0
_RETRY_SECONDS = 5
_MAX_FRAME = 1 << 24


class Rendered:
    """Answers the Retrieve Transactions of Rendered Resources and Thumbnails of one route."""

    def __init__(self, services: Services, route: Route) -> None:
        self._services = services
        self._route = route
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def rendered(self, study: str, series: str = "", sop: str = "", frames: str = "1") -> Response:
        """The picture of one frame; of a study or series that of the first frame of each object."""
        form, media_type = choose_picture(accepted(), single=bool(sop) and "," not in frames)
        asked = read_asked(request.args)
        leaving = self._leaving((study, series, sop))
        found = self._pictures(leaving, asked, media_type, _numbers(frames))
        begun = self._first(leaving, found)
        if form is Form.SINGLE:
            return Response(begun, content_type=media_type)
        parts = (Part(media_type, data) for data in chain((begun,), found))
        message = Multipart(parts, media_type)
        return Response(iter(message), content_type=message.media_type)

    def thumbnail(self, study: str, series: str = "", sop: str = "", frames: str = "1") -> Response:
        """A small picture of the first object that has one, within 256 x 256 pixels unless told otherwise."""
        _, media_type = choose_picture(accepted(), single=True)
        asked = read_asked(request.args, THUMBNAIL)
        leaving = self._leaving((study, series, sop))
        found = self._pictures(leaving, asked, media_type, _numbers(frames)[:1])
        return Response(self._first(leaving, found), content_type=media_type)

    def one(self, uids: tuple[str, str, str], frame: int, asked: Asked, media_type: str) -> Response:
        """The picture of one frame of one instance."""
        leaving = self._leaving(uids)
        found = self._pictures(leaving, asked, media_type, [frame])
        return Response(self._first(leaving, found), content_type=media_type)

    def _leaving(self, uids: tuple[str, str, str]) -> Leaving:
        return Leaving(self._services, self._services.gate.view(self._route), uids)

    def _pictures(
        self, leaving: Leaving, asked: Asked, media_type: str, frames: list[int]
    ) -> Iterator[bytes]:
        """The pictures of these frames of every instance; what cannot be shown is left out.

        The gate is asked anew for every picture. Raises Withdrawn where one may not leave any more after the
        first, and ServiceUnavailable where too many others are being made.
        """
        begun = False
        places = dict.fromkeys((one.study_uid, one.series_uid, one.sop_uid) for one in leaving.found)
        for place in places:
            for frame in frames:
                left = made = False
                for one in self._of_frame(place, frame, asked, media_type):
                    left = True
                    if one is not None:
                        made = begun = True
                        yield one
                    del one
                if begun and not left:
                    raise Withdrawn("an object may not leave any more: the answer breaks off")
                if not made:
                    # Nor will its other frames be shown.
                    break

    def _of_frame(
        self, uids: tuple[str, str, str], frame: int, asked: Asked, media_type: str
    ) -> Iterator[bytes | None]:
        """The picture of one frame of each instance with these UIDs, None of one that cannot be shown."""
        shown: dict[str, bytes] = {}

        def show(instance: str, data: bytes) -> None:
            try:
                with self._turn():
                    shown[instance] = self._render(instance, data, frame, asked)
            except NotEncodable:
                return

        for instance in self._leaving(uids).instances(also=show):
            yield self._finished(shown.pop(instance.released.instance, b""), instance, asked, media_type)
            del instance

    def _finished(self, shown: bytes, instance: Instance, asked: Asked, media_type: str) -> bytes | None:
        label = LABELS.get(read_assessment(instance.row).origin)
        try:
            with self._turn():
                return picture(shown, asked, label, media_type) if shown else None
        except NotEncodable:
            return None

    def _render(self, instance: str, data: bytes, frame: int, asked: Asked) -> bytes:
        """One frame as PNG, no larger than it is stored. Raises NotEncodable."""
        try:
            size = side_to_render(*frame_size(read_header(data)), asked)
        except HeaderError as problem:
            raise NotEncodable("the object cannot be read") from problem
        render = self._services.codec.render
        if asked.window is None or not asked.bent:
            return render(instance, frame, asked.window, size)
        return bend([render(instance, frame, window, size) for window in windows(*asked.window)])

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until one of `AT_ONCE` is free. Raises ServiceUnavailable where that takes too long."""
        if not self._turns.acquire(timeout=WAIT_SECONDS):
            raise ServiceUnavailable(
                "other pictures are being made; try again later", retry_after=_RETRY_SECONDS
            )
        try:
            yield
        finally:
            self._turns.release()

    def _first(self, leaving: Leaving, found: Iterator[bytes]) -> bytes:
        """The first. Raises NotFound where nothing may leave, NotAcceptable where that has no picture."""
        for one in found:
            return one
        first(leaving.instances())
        raise NotAcceptable("there is no picture of this, or not of this frame; retrieve the object instead")


def _numbers(frames: str) -> list[int]:
    texts = frames.split(",")
    if len(texts) > 100:
        raise BadRequest("at most 100 frames are rendered at once")
    return [read_whole("a frame", text, 1, _MAX_FRAME) for text in texts]
