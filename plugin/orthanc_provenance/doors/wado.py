"""WADO-RS: studies, series and instances of one route, as DICOM (PS3.18 section 10.4.1.1.1).

What may not leave does not exist here: it is not found, and asking for it by UID gives the very answer that
a UID gets which was never used.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from flask import Response

from ..config import Route
from .leaving import Instance, Leaving, first
from .multipart import Multipart, Part
from .negotiate import DICOM, ZIP, Form, accepted, choose_dicom
from .services import Services
from .zip import zipped

RESOURCES = (
    "/studies/<study>",
    "/studies/<study>/series/<series>",
    "/studies/<study>/series/<series>/instances/<sop>",
)


class Wado:
    """Answers the Retrieve Transactions of Instances of one route."""

    def __init__(self, services: Services, route: Route) -> None:
        self._services = services
        self._route = route

    def retrieve(self, study: str, series: str = "", sop: str = "") -> Response:
        """The instances, one after the other: as parts of a message, as one file, or as a ZIP archive."""
        wanted = choose_dicom(accepted(), single=bool(sop))
        leaving = Leaving(self._services, self._services.gate.view(self._route), (study, series, sop))
        if not wanted.is_open:
            leaving.check(wanted)
        instances = leaving.encoded(wanted)
        begun = first(instances)
        if wanted.form is Form.SINGLE:
            return Response(begun.data, content_type=_media_type(begun))
        every = chain((begun,), instances)
        del begun
        if wanted.form is Form.ZIPPED:
            response = Response(zipped(_files(every)), content_type=ZIP)
            response.headers["Content-Disposition"] = f'attachment; filename="{sop or series or study}.zip"'
            return response
        message = Multipart(_parts(every), DICOM)
        return Response(iter(message), content_type=message.media_type)


def _parts(instances: Iterator[Instance]) -> Iterator[Part]:
    for instance in instances:
        yield Part(_media_type(instance), instance.data)
        del instance


def _files(instances: Iterator[Instance]) -> Iterator[tuple[str, bytes]]:
    for instance in instances:
        yield f"{instance.released.series_uid}/{instance.released.sop_uid}.dcm", instance.data
        del instance


def _media_type(instance: Instance) -> str:
    return f"{DICOM}; transfer-syntax={instance.syntax}"
