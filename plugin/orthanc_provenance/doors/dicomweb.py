"""The research door over DICOMweb: QIDO-RS and WADO-RS of what one route releases (PS3.18 chapter 10).

What may not leave does not exist here: it is not found, and asking for it by UID gives the very answer that
a UID gets which was never used.
"""

from __future__ import annotations

from functools import partial
from typing import NoReturn

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, Forbidden, NotFound

from ..config import Route
from ..index.query import Level
from .bulkdata import Bulkdata
from .capabilities import capabilities_of
from .manifest import Manifests
from .metadata import Metadata
from .place import service_url
from .qido import MAX_QUERY, check_uid
from .qido_answer import search
from .rendered import Rendered
from .requester import current_requester
from .services import Services
from .wado import RESOURCES, Wado
from .wado_uri import WadoUri

_SEARCHES = (
    (Level.STUDY, "/studies"),
    (Level.SERIES, "/series"),
    (Level.SERIES, "/studies/<study>/series"),
    (Level.INSTANCE, "/instances"),
    (Level.INSTANCE, "/studies/<study>/instances"),
    (Level.INSTANCE, "/studies/<study>/series/<series>/instances"),
)
_PATH_KEYS = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID"}


def blueprint(services: Services, route: Route) -> Blueprint:
    """The resources below `route.dicom_web_root`."""
    door = _Door(services, route)
    made = Blueprint(f"dicomweb-{route.name}", __name__, url_prefix=route.dicom_web_root)
    made.before_request(door.check)
    for level, rule in _SEARCHES:
        made.add_url_rule(rule, f"search {rule}", partial(door.search, level))
    _add_retrieval(made, services, route)
    made.add_url_rule("/manifest", "manifest", Manifests(services, route).show)
    made.add_url_rule("/<path:rest>", "nothing", _nothing)
    return made


def _add_retrieval(made: Blueprint, services: Services, route: Route) -> None:
    wado, metadata = Wado(services, route), Metadata(services, route)
    bulkdata, rendered = Bulkdata(services, route), Rendered(services, route)
    by_parameters = WadoUri(services, route, rendered)
    for rule in RESOURCES:
        made.add_url_rule(rule, f"retrieve {rule}", wado.retrieve)
        made.add_url_rule(f"{rule}/metadata", f"metadata {rule}", metadata.retrieve)
    made.add_url_rule(f"{RESOURCES[-1]}/frames/<frames>", "frames", bulkdata.frames)
    made.add_url_rule(f"{RESOURCES[-1]}/bulkdata/<path:path>", "bulkdata", bulkdata.bulkdata)
    for rule in (*RESOURCES, f"{RESOURCES[-1]}/frames/<frames>"):
        made.add_url_rule(f"{rule}/rendered", f"rendered {rule}", rendered.rendered)
        made.add_url_rule(f"{rule}/thumbnail", f"thumbnail {rule}", rendered.thumbnail)
    made.add_url_rule("/wado", "wado", by_parameters.retrieve)

    def root() -> Response:
        # PS3.18 chapter 9 puts WADO-URI on the root itself.
        if "requestType" in request.args:
            return by_parameters.retrieve()
        return capabilities_of(route.dicom_web_root)

    for rule in ("", "/"):
        made.add_url_rule(rule, f"root {rule}", root, methods=("GET", "OPTIONS"))


class _Door:
    """Answers the requests of one route."""

    def __init__(self, services: Services, route: Route) -> None:
        self._services = services
        self._route = route

    def check(self) -> None:
        """Runs before every request. Raises Unauthorized, Forbidden, or BadRequest for a query too long."""
        if not self._services.gate.admits(current_requester(), self._route):
            raise Forbidden("this user may not use this route")
        if len(request.query_string) > MAX_QUERY:
            raise BadRequest(f"the query is longer than {MAX_QUERY} bytes")

    def search(self, level: Level, **path: str) -> Response:
        """A Search Transaction (PS3.18 section 10.6)."""
        uids = {_PATH_KEYS[name]: check_uid(uid) for name, uid in path.items()}
        root = service_url(self._route.dicom_web_root)
        return search(self._services.gate.view(self._route), level, uids, root)


def _nothing(rest: str = "") -> NoReturn:
    raise NotFound("there is no such resource; GET of the root of the service tells which there are")
