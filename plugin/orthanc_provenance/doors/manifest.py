"""The manifest of a query: what whoever uses its results must declare (`GET {root}/manifest?…`).

Its keys are those of a search for studies. It counts what may leave on the route, and nothing else, and names
what made the artificial part of it. It is JSON-LD in the form of MLCommons Croissant 1.0 (with its
vocabulary for responsible AI, and terms of our own below `urn:orthanc-provenance:manifest:v1#`), or CSV
(RFC 4180), or both signed: an in-toto Statement in a DSSE envelope whose subjects are those two files and
whose predicate is the first.

Nothing in it identifies a patient: of the query it repeats the values of keys that cannot, years of dates,
and of all others that they were there. The same content on the same day (UTC) has the same bytes.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from flask import Response, request
from werkzeug.exceptions import BadRequest, NotAcceptable, ServiceUnavailable

from .. import __version__
from ..config import Route
from ..index.query import Level, Query
from ..index.released import Kind
from ..index.totals import Totals
from .manifest_forms import CSV_NAME, JSON_LD_NAME, as_csv, as_json, croissant, statement
from .negotiate import JSON, accepted
from .qido import FILTERS, read_query
from .services import Services

JSON_LD, CSV, DSSE = "application/ld+json", "text/csv", "application/vnd.dsse.envelope.v1+json"
_FORMATS = {"jsonld": JSON_LD, "csv": CSV, "dsse": DSSE}
_SERVED = {JSON_LD: JSON_LD, JSON: JSON_LD, CSV: CSV, DSSE: DSSE}
_FILE_NAMES = {JSON_LD: JSON_LD_NAME, CSV: CSV_NAME, DSSE: "manifest.dsse.json"}
# So many at once: to count a whole archive keeps a processor busy for seconds.
_AT_ONCE = 2
_RETRY_SECONDS = 10
_WITHHELD = "(not repeated here)"
_CODED = frozenset(("Modality", "ModalitiesInStudy", "SOPClassUID"))
_CODE = re.compile(r"[A-Z0-9_.,*?\\]{1,256}")
_DATES = frozenset(("StudyDate", "SeriesDate"))


class Manifests:
    """Answers the requests for manifests of one route; `today` gives the date (UTC, ISO 8601)."""

    def __init__(
        self,
        services: Services,
        route: Route,
        today: Callable[[], str] = lambda: time.strftime("%Y-%m-%d", time.gmtime()),
    ) -> None:
        self._services = services
        self._route = route
        self._today = today
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def show(self) -> Response:
        """The manifest of the current query. Raises BadRequest, NotAcceptable and what a gate raises."""
        media_type = _choose()
        if media_type == DSSE and self._services.sign is None:
            raise NotAcceptable("this gateway signs nothing; ask for the manifest in another form")
        query = _read_query()
        if not self._turns.acquire(blocking=False):
            raise ServiceUnavailable(
                "other manifests are being counted; try again later", retry_after=_RETRY_SECONDS
            )
        try:
            totals = self._services.gate.view(self._route).totals(query)
        finally:
            self._turns.release()
        content_type = f"{CSV}; charset=utf-8" if media_type == CSV else media_type
        response = Response(self._written(media_type, query, totals), content_type=content_type)
        response.headers["Content-Disposition"] = f'inline; filename="{_FILE_NAMES[media_type]}"'
        response.headers["Vary"] = "Accept"
        return response

    def _written(self, media_type: str, query: Query, totals: Totals) -> bytes:
        content = croissant(self._about(), shown_query(query, totals), totals)
        if media_type == CSV:
            return as_csv(content)
        if media_type == DSSE and self._services.sign is not None:
            return self._services.sign(statement(content))
        return as_json(content)

    def _about(self) -> dict[str, str]:
        return {
            "route": self._route.name,
            "purpose": self._route.purpose,
            "gatewayVersion": __version__,
            "catalogueRevision": self._services.catalogue,
            "date": self._today(),
        }


def shown_query(query: Query, totals: Totals) -> dict[str, str]:
    """The query as a manifest may repeat it: no value by which a patient could be told."""
    shown = {}
    for keyword, value in query.matches.items():
        if not value:
            continue
        shown[keyword] = _WITHHELD
        if keyword in _CODED and _CODE.fullmatch(value):
            shown[keyword] = value
        elif keyword in _DATES:
            shown[keyword] = "-".join(part[:4] for part in value.split("-"))
    names = {
        Kind.GENERATOR: {one.name for one in totals.generators},
        Kind.DECLARATION: {one.declaration for one in totals.generators},
    }
    for keyword, (kind, _) in FILTERS.items():
        values = query.provenance.get(kind, ())
        known = names.get(kind, set(values))
        if values:
            shown[keyword] = ", ".join(value if value in known else _WITHHELD for value in values)
    return dict(sorted(shown.items()))


def _read_query() -> Query:
    arguments = [(name, value) for name, value in request.args.items(multi=True) if name != "format"]
    for name, _ in arguments:
        if name in ("limit", "offset"):
            raise BadRequest(f"a manifest counts all that matches; leave out {name}")
    return read_query(Level.STUDY, arguments, {}).query


def _choose() -> str:
    """The media type to answer with; `format` wins over `accept`, and that over the header. Raises."""
    formats = request.args.getlist("format")
    if formats:
        if len(formats) > 1 or formats[0] not in _FORMATS:
            raise BadRequest(f"format must be one of {', '.join(_FORMATS)}")
        return _FORMATS[formats[0]]
    for item in accepted():
        for media_type, served in _SERVED.items():
            if item.takes(media_type):
                return served
    raise NotAcceptable(f"a manifest is served as {JSON_LD}, {CSV} and {DSSE}; send Accept: {JSON_LD}")
