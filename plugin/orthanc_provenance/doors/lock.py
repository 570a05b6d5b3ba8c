"""Locks research requesters out of every way but their own, and finds the ways that cannot be locked.

The host asks `allows` before it serves any HTTP request, WebDAV and uploads included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config import Settings
from .requester import Claim

PUBLIC_KEYS = "/provenance/api/keys"
"""What whoever holds a stamped object needs, researchers above all: nothing there is secret."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A way around the gate that the host's configuration leaves open: its name, and what to do about it."""

    name: str
    advice: str


class Lock:
    """Says whether the sender of a request may ask for a path at all."""

    def __init__(self, settings: Settings) -> None:
        self._routes = settings.routes

    def allows(self, claim: Claim, path: str, *, reads: bool = True) -> bool:
        """Whether the sender may ask for `path`, which is decoded and may end in a slash.

        Users of a research route reach its root and the public keys and nothing else, whether Orthanc or a
        proxy knows them; so do holders of a token. All others reach what the host lets them.

        Nobody may do other than read there (`reads` is false for any method but GET): the host would take a
        body of gigabytes into memory before the doors could say that they want none.
        """
        if not reads and self._is_read_only(path.rstrip("/")):
            return False
        roots = self._roots(claim)
        if roots is None or path.rstrip("/") == PUBLIC_KEYS:
            return True
        if any(part in ("", ".", "..") for part in path.rstrip("/").split("/")[1:]):
            return False
        return any(path == root or path.startswith(root + "/") for root in roots)

    def _is_read_only(self, path: str) -> bool:
        roots = (PUBLIC_KEYS, *(route.dicom_web_root for route in self._routes))
        return any(path == root or path.startswith(root + "/") for root in roots)

    def _roots(self, claim: Claim) -> list[str] | None:
        """The roots of the routes that a research requester may ask; None for everybody else."""
        requester, by_token = claim.requester, claim.by_token
        if by_token:
            # A token that is worth nothing gets as far as the doors, which say so, each in the same way.
            mine = [route for route in self._routes if requester.route in (None, route.name)]
        else:
            mine = [
                route
                for route in self._routes
                if claim.user in route.users or requester.is_among(route.users)
            ]
        return [route.dicom_web_root for route in mine] if mine or by_token else None


def find_holes(configuration: Mapping[str, Any], settings: Settings) -> list[Hole]:
    """The ways around the research routes that the host's `configuration` leaves open.

    Without authentication whoever says nothing of himself reaches all of Orthanc. C-FIND, C-GET and C-MOVE on
    the clinical port pass no gate, so no research AE title may have them, and they must not be open to every
    AE title.
    """
    holes = []
    authenticated = configuration.get(
        "AuthenticationEnabled", configuration.get("RemoteAccessAllowed", False)
    )
    if not authenticated:
        holes.append(
            Hole(
                "authentication-disabled",
                'set "AuthenticationEnabled": true and "RegisteredUsers"; or, where nothing but a proxy that '
                'asks everybody who they are can reach Orthanc, accept this in "AllowHoles"',
            )
        )
    for option in ("DicomAlwaysAllowFind", "DicomAlwaysAllowGet", "DicomAlwaysAllowMove"):
        if configuration.get(option, False):
            holes.append(
                Hole(_hyphened(option), f'set "{option}": false and list the modalities that need it')
            )
    research = {title.strip().upper() for route in settings.routes for title in route.ae_titles}
    symbols = {name for route in settings.routes for name in route.modalities}
    for name, modality in configuration.get("DicomModalities", {}).items():
        title, may = _modality(modality)
        if may and (name in symbols or title.strip().upper() in research):
            advice = f'set "AllowGet", "AllowMove" and "AllowFind" of the modality {name!r} to false'
            holes.append(Hole("research-ae-title-on-clinical-port", advice))
    accepted = set(settings.allow_holes)
    return [hole for hole in holes if hole.name not in accepted]


def is_authenticated(configuration: Mapping[str, Any]) -> bool:
    """Whether the host verifies users; by default it does once it listens to other machines."""
    found = configuration.get("AuthenticationEnabled", configuration.get("RemoteAccessAllowed", False))
    return found is True


def _modality(modality: Any) -> tuple[str, bool]:
    """AE title of an entry of `DicomModalities`, and whether it may find or retrieve (by default it may)."""
    if isinstance(modality, dict):
        allowed = (modality.get(option, True) for option in ("AllowGet", "AllowMove", "AllowFind"))
        return str(modality.get("AET", "")), any(allowed)
    return (str(modality[0]) if modality else ""), True


def _hyphened(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
