"""The research door over DICOMweb: QIDO-RS and WADO-RS of what one route releases (PS3.18 chapter 10).

What may not leave does not exist here: it is not found, and asking for it by UID gives the very answer that
a UID gets which was never used.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import NoReturn, TypeVar

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, Forbidden, NotAcceptable, NotFound

from ..config import Route
from ..dicom.header import read_header
from ..dicom.scan import MAX_NESTED
from ..errors import HeaderError, NotStored, StampError
from ..gate import View
from ..index.search import Level, Released
from .dicom_json import dataset_json
from .multipart import Multipart, Part
from .negotiate import DICOM, MediaRange, choose_dicom, choose_json, media_ranges
from .qido import MAX_LIMIT, MAX_QUERY, answer, check_uid, read_query
from .requester import current_requester
from .services import Services

log = logging.getLogger(__name__)

_RESOURCES = (
    "/studies/<study>",
    "/studies/<study>/series/<series>",
    "/studies/<study>/series/<series>/instances/<sop>",
)
_SEARCHES = (
    (Level.STUDY, "/studies"),
    (Level.SERIES, "/series"),
    (Level.SERIES, "/studies/<study>/series"),
    (Level.INSTANCE, "/instances"),
    (Level.INSTANCE, "/studies/<study>/instances"),
    (Level.INSTANCE, "/studies/<study>/series/<series>/instances"),
)
_NOT_LITERAL = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
_MORE = f"There are additional results that can be requested, at most {MAX_LIMIT} at once."
_PATH_KEYS = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID"}


_T = TypeVar("_T")


def blueprint(services: Services, route: Route) -> Blueprint:
    """The resources below `route.dicom_web_root`."""
    door = _Door(services, route)
    made = Blueprint(f"dicomweb-{route.name}", __name__, url_prefix=route.dicom_web_root)
    made.before_request(door.check)
    for level, rule in _SEARCHES:
        made.add_url_rule(rule, f"search {rule}", partial(door.search, level))
    for rule in _RESOURCES:
        made.add_url_rule(rule, f"retrieve {rule}", door.retrieve)
        made.add_url_rule(f"{rule}/metadata", f"metadata {rule}", door.metadata)
    for rule in ("", "/", "/<path:rest>"):
        made.add_url_rule(rule, f"nothing {rule}", _nothing)
    return made


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
        media_type = choose_json(_accepted())
        uids = {_PATH_KEYS[name]: check_uid(uid) for name, uid in path.items()}
        asked = read_query(level, request.args.items(multi=True), uids)
        limit = asked.query.limit
        # One more than what is shown tells whether there are more.
        rows = self._services.gate.view(self._route).find(replace(asked.query, limit=limit + 1))
        root = f"{request.scheme}://{request.host}{self._route.dicom_web_root}"
        shown = [answer(level, row, root) for row in rows[:limit]]
        response = Response(json.dumps(shown), content_type=media_type)
        if asked.fuzzy:
            _warn(response, _NOT_LITERAL)
        if len(rows) > limit:
            _warn(response, _MORE)
        return response

    def retrieve(self, study: str, series: str = "", sop: str = "") -> Response:
        """A Retrieve Transaction of Instances (PS3.18 section 10.4), which streams one after the other."""
        wanted = choose_dicom(_accepted(), single=bool(sop))
        view = self._services.gate.view(self._route)
        found = _released(view, study, series, sop)
        if wanted.syntaxes:
            # A syntax that somebody insists on is checked in all of them before the answer begins.
            self._check_syntaxes(view, found, wanted.syntaxes)
        parts = self._parts(view, found)
        first = _first(parts)
        if not wanted.multipart:
            return Response(first.data, content_type=first.media_type)
        message = Multipart(chain((first,), parts), DICOM)
        return Response(iter(message), content_type=message.media_type)

    def metadata(self, study: str, series: str = "", sop: str = "") -> Response:
        """A Retrieve Transaction of Metadata (PS3.18 section 10.4.1.1.2), which streams item by item."""
        media_type = choose_json(_accepted())
        view = self._services.gate.view(self._route)
        items = self._items(view, _released(view, study, series, sop))
        first = _first(items)
        rest = (f",{item}".encode("ascii") for item in items)
        return Response(chain((f"[{first}".encode("ascii"),), rest, (b"]",)), content_type=media_type)

    def _parts(self, view: View, found: list[Released]) -> Iterator[Part]:
        for released in found:
            part = self._part(view, released)
            if part is not None:
                yield part
            # What was sent must not wait in memory while the next one is read.
            del part

    def _items(self, view: View, found: list[Released]) -> Iterator[str]:
        for part in self._parts(view, found):
            yield json.dumps(dataset_json(read_header(part.data, max_in_items=MAX_NESTED)))
            del part

    def _part(self, view: View, released: Released) -> Part | None:
        """An instance as it leaves; None where it may not, or the archive holds it no more."""
        try:
            found = view.read(released, self._services.read)
            if found is None:
                return None
            data = self._services.stamp(*found)
            return Part(f"{DICOM}; transfer-syntax={read_header(data).transfer_syntax}", data)
        except NotStored:
            return None
        except (HeaderError, StampError) as problem:
            log.warning("SOP instance %s stays in: %s", released.sop_uid, problem)
            return None

    def _check_syntaxes(self, view: View, found: list[Released], syntaxes: frozenset[str]) -> None:
        for part in self._parts(view, found):
            stored = part.media_type.rpartition("=")[2]
            if stored not in syntaxes:
                raise NotAcceptable(
                    f"an instance is stored in the transfer syntax {stored}, and nothing is transcoded here; "
                    "ask for transfer-syntax=*"
                )
            del part


def _nothing(rest: str = "") -> NoReturn:
    raise NotFound("there is no such resource; supported are the search, retrieve and metadata transactions")


def _released(view: View, study: str, series: str, sop: str) -> list[Released]:
    for uid in (study, series, sop):
        if uid:
            check_uid(uid)
    return view.released(study, series, sop)


def _first(items: Iterator[_T]) -> _T:
    """The first of `items`, made before the status of the answer is sent. Raises NotFound."""
    for item in items:
        return item
    raise NotFound("there is no such study, series or instance")


def _accepted() -> list[MediaRange]:
    """What the client accepts; the query parameter wins over the header (PS3.18 section 8.3.3.1)."""
    return media_ranges(request.args.get("accept") or request.headers.get("Accept", ""))


def _warn(response: Response, text: str) -> None:
    """A warning as PS3.18 section 8.3.4.5 words it: about what the answer is not."""
    response.headers.add("Warning", f'299 orthanc-provenance "{text}"')
