"""The markers in force over REST, for administrators, and what was refused of the site's files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from ..evidence.catalogue import Catalogue
from ..evidence.describe import details, refusal, summary


def add_markers(made: Blueprint, catalogue: Catalogue, check_administrator: Callable[[], None]) -> None:
    """Add the resources below `/markers` to the API."""
    by_id = {marker.id: marker for marker in catalogue.markers}

    @made.get("/markers")
    def list_markers() -> Response:
        check_administrator()
        return _answer(
            {
                "revision": catalogue.revision,
                "markers": [summary(catalogue, marker) for marker in catalogue.markers],
                "problems": [refusal(problem) for problem in catalogue.problems],
            }
        )

    @made.get("/markers/<marker>")
    def show_marker(marker: str) -> Response:
        check_administrator()
        found = by_id.get(marker)
        if found is None:
            raise NotFound("there is no marker with this id")
        return _answer(details(catalogue, found))


def _answer(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), content_type="application/json")
