"""The `Provenance` section: what is read, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from orthanc_provenance.config import Route, Settings, read_settings
from orthanc_provenance.errors import ConfigurationError


def read(section: Any, **environment: str) -> Settings:
    return read_settings({"Provenance": section}, environment)


def test_without_a_section_the_defaults_hold() -> None:
    settings = read_settings({}, {})

    assert settings == Settings()
    assert settings.routes == (Route(),)


def test_values_are_read_by_their_camel_case_keys() -> None:
    settings = read(
        {
            "Stamp": "Synthetic",
            "Administrators": ["ada"],
            "Routes": {"reading": {"DicomWebRoot": "/reading", "AllowUndetermined": True}},
        }
    )

    (route,) = settings.routes
    assert (settings.stamp, settings.administrators) == ("Synthetic", ("ada",))
    assert (route.name, route.dicom_web_root, route.allow_undetermined) == ("reading", "/reading", True)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"Stmp": "All"}, '"Provenance.Stmp"; did you mean "Stamp"'),
        ({"Name": "x"}, '"Provenance.Name"'),
        ({"Stamp": "Some"}, '"Provenance.Stamp" must be one of All, Synthetic, None'),
        ({"Enable": "yes"}, '"Provenance.Enable" must be true or false'),
        ({"Administrators": "admin"}, '"Provenance.Administrators" must be a list of strings'),
        ({"Routes": {"research": {"DicomPrt": 1}}}, '"Provenance.Routes.research.DicomPrt"'),
        ({"Routes": {"research": {"DicomPort": True}}}, '"Provenance.Routes.research.DicomPort"'),
        ({"Routes": {"research": {"DicomPort": 70000}}}, '"Provenance.Routes.research.DicomPort"'),
        ({"Routes": {"research": {"DicomWebRoot": "research/(.*)"}}}, "DicomWebRoot"),
        ({"Routes": {"research": {"DicomAet": "SEVENTEEN_LETTERS"}}}, "AE title"),
        ({"Routes": {"Re search": {}}}, '"Provenance.Routes.Re search"'),
        ({"Routes": {"a": {}, "b": {}}}, "used by another route"),
        ({"Routes": {"a": {"DicomWebRoot": "/dicom-web"}}}, "a path of Orthanc itself"),
        ({"Routes": {"a": {"DicomWebRoot": "/instances/research"}}}, "a path of Orthanc itself"),
        ({"DatabaseUrl": "postgresql+psycopg://host/index"}, "not supported yet"),
        ({"Routes": {"a": {"Users": ["admin"]}}}, "'admin'"),
        ([], '"Provenance" must be a JSON object'),
    ],
)
def test_what_is_wrong_is_refused_with_its_key(section: Any, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(section)

    assert told in str(refused.value)


def test_environment_variables_win_over_the_file() -> None:
    settings = read(
        {"Stamp": "All", "Routes": {"research": {"Users": ["ada"]}}},
        ORTHANC__PROVENANCE__STAMP="None",
        ORTHANC__PROVENANCE__DATABASE_URL="sqlite:////index.db",
        ORTHANC__PROVENANCE__ADMINISTRATORS='["grace"]',
        ORTHANC__PROVENANCE__ROUTES__RESEARCH__USERS='["alan", "kurt"]',
        ORTHANC__PROVENANCE__ROUTES__RESEARCH__REQUIRE_IDENTITY_REMOVED="true",
        ORTHANC__NAME="not ours",
    )

    assert (settings.stamp, settings.administrators) == ("None", ("grace",))
    assert settings.database_url == "sqlite:////index.db"
    assert settings.routes[0].users == ("alan", "kurt")
    assert settings.routes[0].require_identity_removed


def test_an_unknown_environment_variable_is_refused_too() -> None:
    with pytest.raises(ConfigurationError, match="Stmp"):
        read({}, ORTHANC__PROVENANCE__STMP="All")


def test_routes_that_a_container_image_has_written_in_camel_case_are_the_same_routes() -> None:
    section = {
        "Routes": {
            "Research": {"Users": ["alan"]},
            "research": {"Users": ["ada"], "AllowUndetermined": True},
            "MyRoute": {"DicomWebRoot": "/mine"},
        }
    }

    routes = {route.name: route for route in read_settings({"Provenance": section}, {}).routes}

    assert routes.keys() == {"research", "my-route"}
    assert routes["research"].users == ("alan",)
    assert routes["research"].allow_undetermined
