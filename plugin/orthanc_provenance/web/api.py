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
from ..index.report import study_report

ROOT = "/provenance/api"


def blueprint(settings: Settings, engine: Engine, status: Callable[[], dict[str, Any]]) -> Blueprint:
    """The API. Its description is for whoever has logged in, everything else for administrators."""
    made = Blueprint("api", __name__, url_prefix=ROOT)

    @made.get("/openapi.json")
    def show_description() -> Response:
        current_requester()
        text = resources.files(__package__).joinpath("openapi.json").read_text("utf-8")
        return Response(text, content_type="application/json")

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

    return made


def _check_administrator(settings: Settings) -> None:
    """Raises Unauthorized or Forbidden unless the current request comes from an administrator."""
    if current_requester().user not in settings.administrators:
        raise Forbidden("only administrators may use this resource")


def _answer(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), content_type="application/json")
