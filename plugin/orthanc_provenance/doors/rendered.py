"""WADO-RS: pictures of studies, series, instances and frames (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.6).

Whatever the gate lets out of an object it lets out as a picture too. A picture of what is synthetic or
AI-derived carries its label, see `banner`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from flask import Response, request
from werkzeug.exceptions import BadRequest, NotAcceptable

from ..config import Route
from ..errors import NotEncodable
from ..index.rows import read_assessment
from .banner import LABELS
from .leaving import Leaving, first
from .multipart import Multipart, Part
from .negotiate import Form, accepted, choose_picture
from .pictures import Asked, picture, read_asked, read_whole
from .services import Services
from .sigmoid import bend, windows

THUMBNAIL = (256, 256)
_MAX_FRAME = 1 << 24


class Rendered:
    """Answers the Retrieve Transactions of Rendered Resources and Thumbnails of one route."""

    def __init__(self, services: Services, route: Route) -> None:
        self._services = services
        self._route = route

    def rendered(self, study: str, series: str = "", sop: str = "", frames: str = "1") -> Response:
        """The picture of one frame; of a study or series that of the first frame of each object."""
        form, media_type = choose_picture(accepted(), single=bool(sop) and "," not in frames)
        asked = read_asked(request.args)
        leaving = Leaving(self._services, self._services.gate.view(self._route), (study, series, sop))
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
        leaving = Leaving(self._services, self._services.gate.view(self._route), (study, series, sop))
        found = self._pictures(leaving, asked, media_type, _numbers(frames)[:1])
        return Response(self._first(leaving, found), content_type=media_type)

    def one(self, uids: tuple[str, str, str], frame: int, asked: Asked, media_type: str) -> Response:
        """The picture of one frame of one instance."""
        leaving = Leaving(self._services, self._services.gate.view(self._route), uids)
        found = self._pictures(leaving, asked, media_type, [frame])
        return Response(self._first(leaving, found), content_type=media_type)

    def _pictures(
        self, leaving: Leaving, asked: Asked, media_type: str, frames: list[int]
    ) -> Iterator[bytes]:
        """The pictures of these frames of every instance; what cannot be shown is left out."""
        size = max(asked.box) if asked.box and not (asked.pixels or asked.fractions) else None
        shown: dict[str, list[bytes]] = {}

        def show(instance: str) -> None:
            shown[instance] = []
            for frame in frames:
                try:
                    shown[instance].append(self._render(instance, frame, asked, size))
                except NotEncodable:
                    return

        for instance in leaving.instances(also=show):
            label = LABELS.get(read_assessment(instance.row).origin)
            for one in shown.pop(instance.released.instance):
                try:
                    yield picture(one, asked, label, media_type)
                except NotEncodable:
                    continue
            del instance

    def _render(self, instance: str, frame: int, asked: Asked, size: int | None) -> bytes:
        """One frame as PNG. Raises NotEncodable."""
        render = self._services.codec.render
        if asked.window is None or not asked.bent:
            return render(instance, frame, asked.window, size)
        return bend([render(instance, frame, window, size) for window in windows(*asked.window)])

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
