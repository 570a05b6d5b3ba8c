"""WADO-URI: one object by the parameters of a URL (PS3.18 chapter 9)."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response, request
from werkzeug.exceptions import BadRequest, NotAcceptable

from ..config import Route
from .leaving import Leaving, first
from .negotiate import ANY, DICOM, EXPLICIT_LITTLE, JPEG, PNG, Form, Representation, Wish
from .pictures import DEFAULT_QUALITY, MAX_SIDE, Asked, read_number, read_whole
from .rendered import Rendered
from .services import Services

_UIDS = ("studyUID", "seriesUID", "objectUID")
_OF_PICTURES = frozenset(
    (
        *("rows", "columns", "region", "windowCenter", "windowWidth", "imageQuality", "frameNumber"),
        *("annotation", "presentationUID", "presentationSeriesUID"),
    )
)
_OF_OBJECTS = frozenset(("transferSyntax", "anonymize", "annotation"))
_KNOWN = frozenset(("requestType", "contentType", "charset", *_UIDS)) | _OF_PICTURES | _OF_OBJECTS
_REFUSED = ("anonymize", "annotation", "presentationUID", "presentationSeriesUID")
_TYPES = {DICOM: DICOM, JPEG: JPEG, "image/jpg": JPEG, PNG: PNG}


class WadoUri:
    """Answers the WADO-URI requests of one route."""

    def __init__(self, services: Services, route: Route, rendered: Rendered) -> None:
        self._services = services
        self._route = route
        self._rendered = rendered

    def retrieve(self) -> Response:
        """The object as DICOM, or a picture of it; a picture where the request does not say (9.1.2.2.1)."""
        given = request.args.to_dict()
        _check(given)
        uids = (given["studyUID"], given["seriesUID"], given["objectUID"])
        media_type = _media_type(given.get("contentType", JPEG))
        if media_type != DICOM:
            frame = read_whole("frameNumber", given.get("frameNumber", "1"), 1, 1 << 24)
            return self._rendered.one(uids, frame, _asked(given), media_type)
        syntax = given.get("transferSyntax", "")
        wishes = (Wish(syntax or EXPLICIT_LITTLE, 1.0), *(() if syntax else (Wish(ANY, 0.0),)))
        leaving = Leaving(self._services, self._services.gate.view(self._route), uids)
        found = first(leaving.encoded(Representation(Form.SINGLE, wishes)))
        return Response(found.data, content_type=DICOM)


def _check(given: Mapping[str, str]) -> None:
    if given.get("requestType") != "WADO":
        raise BadRequest("requestType must be WADO")
    for name in _UIDS:
        if not given.get(name):
            raise BadRequest(f"{name} is missing: studyUID, seriesUID and objectUID name the object")
    for name in given:
        if name not in _KNOWN:
            raise BadRequest(f"unknown parameter {name[:32]!r}; supported are {', '.join(sorted(_KNOWN))}")
    for name in _REFUSED:
        if given.get(name):
            raise BadRequest(f"{name} is not supported: objects and pictures leave as they are archived")


def _media_type(text: str) -> str:
    """The first media type in a list with commas that is served. Raises NotAcceptable."""
    for name in text.split(","):
        found = _TYPES.get(name.partition(";")[0].strip().lower())
        if found is not None:
            return found
    raise NotAcceptable(f"contentType may be {DICOM}, {JPEG} and {PNG}")


def _asked(given: Mapping[str, str]) -> Asked:
    center, width = given.get("windowCenter", ""), given.get("windowWidth", "")
    if bool(center) != bool(width):
        raise BadRequest("windowCenter and windowWidth go together")
    window = (read_number("windowCenter", center), read_number("windowWidth", width)) if center else None
    if window is not None and window[1] < 1:
        raise BadRequest("windowWidth must be at least 1")
    box = None
    if "rows" in given or "columns" in given:
        sides = (given.get("columns", str(MAX_SIDE)), given.get("rows", str(MAX_SIDE)))
        box = (read_whole("columns", sides[0], 1, MAX_SIDE), read_whole("rows", sides[1], 1, MAX_SIDE))
    return Asked(
        window=window,
        box=box,
        fractions=_region(given["region"]) if "region" in given else None,
        quality=read_whole("imageQuality", given.get("imageQuality", str(DEFAULT_QUALITY)), 1, 100),
    )


def _region(text: str) -> tuple[float, float, float, float]:
    values = [read_number("region", value) for value in text.split(",")]
    if len(values) != 4 or not all(0 <= value <= 1 for value in values):
        raise BadRequest("region must be four numbers from 0 to 1: left,top,right,bottom")
    return values[0], values[1], values[2], values[3]
