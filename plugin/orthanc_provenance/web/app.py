"""The web application that the host mounts: the research door of every route, and the REST API.

It trusts two things in its environment, which the host's bridge sets: `REMOTE_USER`, whom Orthanc has
authenticated, and `REMOTE_ADDR`, where the request comes from. All errors are JSON, `{"error": "…",
"status": 404}`, and none of them shows how it came about.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from flask import Flask, Response
from sqlalchemy import Engine
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from ..doors import dicomweb
from ..doors.requester import Requesters, install
from ..doors.services import Services
from ..doors.tokens import Tokens
from ..errors import IndexUnavailable, Withdrawn
from ..evidence.catalogue import Catalogue
from . import api

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5
_NO_MARKERS = Catalogue((), (), "")


def create_app(
    services: Services,
    engine: Engine,
    status: Callable[[], dict[str, Any]],
    keys: dict[str, Any] | None = None,
    catalogue: Catalogue | None = None,
) -> Flask:
    """The application. `status` gives the values of `GET /provenance/api/status`, and `keys` are what
    `GET /provenance/api/keys` answers: those of `stamp.keys.describe`, by default none. The markers below
    `/provenance/api/markers` are those of `catalogue`, by default none.
    """
    app = Flask(__name__, static_folder=None)
    # Paths are taken as they are: a redirect would tell what exists to whoever may not ask.
    app.url_map.merge_slashes = False
    for route in services.settings.routes:
        app.register_blueprint(dicomweb.blueprint(services, route))
    app.register_blueprint(
        api.blueprint(services.settings, engine, status, keys or {"keys": []}, catalogue or _NO_MARKERS)
    )
    install(app, Requesters(services.settings.trusted_proxies, Tokens(engine).find))
    app.register_error_handler(HTTPException, _show)
    app.register_error_handler(IndexUnavailable, _show_closed)
    app.register_error_handler(Withdrawn, _show_changing)
    app.after_request(_secure)
    return app


def _show(problem: HTTPException) -> Response:
    """An error as JSON, with the headers that belong to it. Flask has logged what was not expected."""
    code = problem.code or 500
    is_told = code < 500 or isinstance(problem, ServiceUnavailable)
    text = problem.description if is_told else "internal error; Orthanc's log says more"
    response = Response(json.dumps({"error": text, "status": code}), code)
    for name, value in problem.get_headers():
        if name.lower() != "content-type":
            response.headers.add(name, value)
    response.content_type = "application/json"
    return response


def _show_changing(_problem: Withdrawn) -> Response:
    """What was asked for changes while it is read, and nothing of the answer has been sent yet."""
    return _try_later("what was asked for is changing at this moment; try again")


def _show_closed(problem: IndexUnavailable) -> Response:
    """Research is closed. The reason may name files of the server, so that only the log has it.

    Whoever closed research has told why; to tell it for every request would flood the log.
    """
    log.info("a request found research closed: %s", problem)
    return _try_later("research is closed while the index is not available; try again later")


def _try_later(text: str) -> Response:
    response = Response(json.dumps({"error": text, "status": 503}), 503, content_type="application/json")
    response.headers["Retry-After"] = str(_RETRY_SECONDS)
    return response


def _secure(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response
