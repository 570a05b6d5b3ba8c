"""Research users are locked out of everything but their root, and open ways around it are found."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_provenance.config import Route, Settings
from orthanc_provenance.doors.lock import Lock, find_holes

SETTINGS = Settings(
    routes=(
        Route(users=("ada", "grace"), ae_titles=("RESEARCH1",), modalities=("lab",)),
        Route(name="second", dicom_web_root="/second/dicom-web", users=("grace",)),
    )
)
SAFE: dict[str, Any] = {"AuthenticationEnabled": True}


@pytest.mark.parametrize(
    "path", ["/research/dicom-web", "/research/dicom-web/", "/research/dicom-web/studies/1.2"]
)
def test_a_research_user_reaches_the_own_root(path: str) -> None:
    assert Lock(SETTINGS).allows("ada", path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/studies",
        "/dicom-web/studies",
        "/research",
        "/research/",
        "/research/dicom-webx",
        "/research/dicom-web/../../instances",
        "/research/dicom-web//studies",
        "/research/dicom-web/./studies",
        "/RESEARCH/dicom-web/studies",
        "/second/dicom-web/studies",
        "/provenance/api/studies/1.2",
        "/webdav/",
    ],
)
def test_a_research_user_reaches_nothing_else(path: str) -> None:
    assert not Lock(SETTINGS).allows("ada", path)


def test_a_user_of_two_routes_reaches_both_roots() -> None:
    lock = Lock(SETTINGS)

    assert lock.allows("grace", "/research/dicom-web/studies")
    assert lock.allows("grace", "/second/dicom-web/studies")


@pytest.mark.parametrize("user", ["", "admin", "ADA"])
def test_everybody_else_is_the_business_of_the_host(user: str) -> None:
    assert Lock(SETTINGS).allows(user, "/instances/x/file")


@pytest.mark.parametrize(
    ("configuration", "name"),
    [
        ({}, "authentication-disabled"),
        ({"AuthenticationEnabled": False, "RemoteAccessAllowed": True}, "authentication-disabled"),
        ({**SAFE, "DicomAlwaysAllowGet": True}, "dicom-always-allow-get"),
        ({**SAFE, "DicomAlwaysAllowMove": True}, "dicom-always-allow-move"),
        ({**SAFE, "DicomAlwaysAllowFind": True}, "dicom-always-allow-find"),
        ({**SAFE, "DicomModalities": {"lab": ["LAB", "host", 104]}}, "research-ae-title-on-clinical-port"),
        (
            {**SAFE, "DicomModalities": {"r": ["research1 ", "host", 104]}},
            "research-ae-title-on-clinical-port",
        ),
        (
            {**SAFE, "DicomModalities": {"r": {"AET": "RESEARCH1", "AllowGet": False, "AllowMove": False}}},
            "research-ae-title-on-clinical-port",
        ),
    ],
)
def test_a_way_around_the_gate_is_found(configuration: dict[str, Any], name: str) -> None:
    assert [hole.name for hole in find_holes(configuration, SETTINGS)] == [name]


@pytest.mark.parametrize(
    "configuration",
    [
        SAFE,
        {"RemoteAccessAllowed": True},
        {**SAFE, "DicomModalities": {"clinical": ["CLINICAL", "host", 104]}},
        {
            **SAFE,
            "DicomModalities": {
                "r": {"AET": "RESEARCH1", "AllowGet": False, "AllowMove": False, "AllowFind": False}
            },
        },
    ],
)
def test_a_closed_configuration_has_no_finding(configuration: dict[str, Any]) -> None:
    assert find_holes(configuration, SETTINGS) == []


def test_a_finding_can_be_accepted_by_name() -> None:
    accepting = Settings(routes=SETTINGS.routes, allow_holes=("dicom-always-allow-get",))

    assert find_holes({**SAFE, "DicomAlwaysAllowGet": True}, accepting) == []
