"""Markers and refused entries as administrators are shown them: JSON-ready."""

from __future__ import annotations

from typing import Any

from ..errors import CatalogueError
from .catalogue import Catalogue
from .marker import Marker


def summary(catalogue: Catalogue, marker: Marker) -> dict[str, Any]:
    """A marker in one line: what it says, how strongly, who says so, and in which file it stands.

    `site` is true where a site wrote it, and `overrides` where it stands instead of a shipped marker.
    """
    listing = catalogue.listings[marker.id]
    return {
        "id": marker.id,
        "title": marker.title,
        "axis": marker.axis.value,
        "says": marker.says,
        "strength": marker.strength.value,
        "source": marker.source,
        "file": listing.file,
        "site": listing.of_site,
        "overrides": listing.overrides,
    }


def details(catalogue: Catalogue, marker: Marker) -> dict[str, Any]:
    """All of a marker: its summary, where it looks, what for, what holds it off, and its examples."""
    return {
        **summary(catalogue, marker),
        "attributes": [path.text for path in marker.paths],
        "pattern": {"kind": marker.pattern.kind, "words": list(marker.pattern.words)},
        "guards": [guard.text for guard in marker.guards],
        "examples": {"match": list(marker.match), "no_match": list(marker.no_match)},
    }


def refusal(problem: CatalogueError) -> dict[str, str]:
    """A refused entry, or file where `entry` is "": why, and what to do about it."""
    return {
        "file": problem.file,
        "entry": problem.entry,
        "reason": problem.reason,
        "suggestion": problem.suggestion,
    }
