"""The REST API below /provenance/api, described in `openapi.json` beside this file."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Engine
from werkzeug.exceptions import Forbidden, NotFound

from ..config import Settings
from ..doors.qido import check_uid
from ..doors.requester import current_requester
from ..doors.tokens import Tokens
from ..evidence.catalogue import Catalogue
from ..index.report import study_report
from .markers import add_markers
from .tokens import add_tokens

ROOT = "/provenance/api"


def blueprint(
    settings: Settings,
    engine: Engine,
    status: Callable[[], dict[str, Any]],
    keys: dict[str, Any],
    catalogue: Catalogue,
) -> Blueprint:
    """The API. Public `keys` are for everybody whom Orthanc lets in, the description for whoever has logged
    in, everything else for administrators.
    """
    made = Blueprint("api", __name__, url_prefix=ROOT)

    @made.get("/openapi.json")
    def show_description() -> Response:
        current_requester()
        text = resources.files(__package__).joinpath("openapi.json").read_text("utf-8")
        return Response(text, content_type="application/json")

    @made.get("/keys")
    def show_keys() -> Response:
        return _answer(keys)

    @made.get("/status")
    def show_status() -> Response:
        _check_administrator(settings)
        return _answer(status())

    @made.get("/studies/<study>")
    def show_study(study: str) -> Response:
        _check_administrator(settings)
        report = study_report(engine, check_uid(study))
        if report is None:
            raise NotFound("the index holds no such study")
        return _answer(report)

    add_tokens(made, settings, Tokens(engine), lambda: _check_administrator(settings))
    add_markers(made, catalogue, lambda: _check_administrator(settings))
    return made


def _check_administrator(settings: Settings) -> None:
    """Raises Unauthorized or Forbidden unless the current request comes from an administrator."""
    if not current_requester().is_among(settings.administrators):
        raise Forbidden("only administrators may use this resource")


def _answer(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), content_type="application/json")
