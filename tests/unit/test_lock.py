"""Research users are locked out of everything but their root, and open ways around it are found."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_provenance.config import Route, Settings
from orthanc_provenance.doors.lock import Lock, find_holes
from orthanc_provenance.doors.requester import Claim
from orthanc_provenance.gate import Requester

SETTINGS = Settings(
    routes=(
        Route(users=("ada", "grace"), ae_titles=("RESEARCH1",), modalities=("lab",)),
        Route(name="second", dicom_web_root="/second/dicom-web", users=("grace",)),
    )
)
SAFE: dict[str, Any] = {"AuthenticationEnabled": True}
ROOT, SECOND = "/research/dicom-web/studies", "/second/dicom-web/studies"


def claim(user: str, requester: Requester | None = None, *, by_token: bool = False) -> Claim:
    """What a request with the Basic credentials of `user` says, and perhaps with better ones."""
    return Claim(Requester(user) if requester is None else requester, user, by_token)


@pytest.mark.parametrize(
    "path", ["/research/dicom-web", "/research/dicom-web/", "/research/dicom-web/studies/1.2"]
)
def test_a_research_user_reaches_the_own_root(path: str) -> None:
    assert Lock(SETTINGS).allows(claim("ada"), path)


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
    assert not Lock(SETTINGS).allows(claim("ada"), path)


@pytest.mark.parametrize("user", ["ada", "admin", ""])
@pytest.mark.parametrize(
    "path",
    ["/research/dicom-web/studies", "/second/dicom-web", "/provenance/api/keys", "/provenance/api/keys/"],
)
def test_nobody_sends_anything_to_what_is_only_read(user: str, path: str) -> None:
    assert not Lock(SETTINGS).allows(claim(user), path, reads=False)


def test_clinical_paths_are_written_to_as_ever() -> None:
    assert Lock(SETTINGS).allows(claim("admin"), "/instances", reads=False)


def test_a_user_of_two_routes_reaches_both_roots() -> None:
    lock = Lock(SETTINGS)

    assert lock.allows(claim("grace"), "/research/dicom-web/studies")
    assert lock.allows(claim("grace"), "/second/dicom-web/studies")


@pytest.mark.parametrize("user", ["", "admin", "ADA"])
def test_everybody_else_is_the_business_of_the_host(user: str) -> None:
    assert Lock(SETTINGS).allows(claim(user), "/instances/x/file")


@pytest.mark.parametrize("basic", ["", "technical", "admin", "grace"])
def test_the_holder_of_a_token_reaches_its_route_and_nothing_else(basic: str) -> None:
    lock, holder = Lock(SETTINGS), claim(basic, Requester("notebook", route="second"), by_token=True)

    assert lock.allows(holder, SECOND)
    for path in (ROOT, "/", "/instances", "/provenance/api/tokens", "/second/dicom-webx"):
        assert not lock.allows(holder, path)


def test_a_token_for_a_route_that_is_gone_reaches_nothing() -> None:
    holder = claim("admin", Requester("notebook", route="third"), by_token=True)

    assert not any(Lock(SETTINGS).allows(holder, path) for path in (ROOT, SECOND, "/instances"))


@pytest.mark.parametrize("basic", ["", "admin", "ada"])
def test_a_token_that_is_worth_nothing_gets_as_far_as_the_doors(basic: str) -> None:
    lock, sender = Lock(SETTINGS), claim(basic, Requester(), by_token=True)

    assert lock.allows(sender, ROOT)
    assert lock.allows(sender, SECOND)
    assert not any(lock.allows(sender, path) for path in ("/instances", "/", "/provenance/api/status"))


@pytest.mark.parametrize("basic", ["", "technical"])
def test_research_users_whom_a_proxy_names_are_locked_out_like_others(basic: str) -> None:
    lock = Lock(
        Settings(routes=(Route(users=("ada", "group:lab")), Route("second", "/second/dicom-web", users=())))
    )
    by_name, by_group = (
        claim(basic, Requester("ada")),
        claim(basic, Requester("eve", frozenset(("lab", "x")))),
    )
    doctor = claim(basic, Requester("eve", frozenset(("ward",))))

    for sender in (by_name, by_group):
        assert lock.allows(sender, ROOT)
        assert not lock.allows(sender, SECOND)
        assert not lock.allows(sender, "/instances")
    assert lock.allows(doctor, "/instances")


def test_a_research_user_of_orthanc_stays_locked_out_whoever_the_proxy_names() -> None:
    assert not Lock(SETTINGS).allows(claim("ada", Requester("doctor")), "/instances")
    assert not Lock(SETTINGS).allows(claim("ada", Requester()), "/instances")


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
