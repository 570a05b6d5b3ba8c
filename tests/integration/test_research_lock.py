"""Researchers reach the research root and nothing else, however they ask; others reach what they did."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import requests
from door import made, opened, orthanc_study, store_visible
from forbidden import BESIDE, CLINICAL, EVERY_TRY, FILE, WEBDAV, Try
from support import RESEARCH, Image

from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc

DOCTOR = ("doctor", "a clinical password")
# Not logged in, refused by the plugin, not there; or no request that Orthanc takes from anybody.
REFUSED = (400, 401, 403, 404, 405)
# Of a path that is no UTF-8 the host cannot ask the plugin, and serves nothing.
NO_TEXT = "/research/dicom-web/%c0%ae%c0%ae/%c0%ae%c0%ae/instances"


class Answer(NamedTuple):
    status: int
    headers: str
    body: bytes


@dataclass(frozen=True)
class Site:
    """A server with one study that is visible to research, and everything by which that may be told."""

    server: Server
    image: Image
    names: dict[str, str]

    @property
    def secrets(self) -> list[bytes]:
        """What no refused answer may hold, among it what stands in every DICOM file."""
        return [name.encode() for name in self.names.values()] + [b"Name^", b"P-", b"DICM", b"PatientID"]

    def fill(self, text: str) -> str:
        """A path or body with the identifiers in it."""
        for name, value in self.names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def ask(self, one: Try, user: tuple[str, str] | None, authorization: str = "") -> Answer:
        """The answer to a request that goes out as it stands: no client tidies its path up."""
        headers = {"Accept": "*/*", **one.headers}
        if user is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(':'.join(user).encode()).decode()}"
        if authorization:
            headers["Authorization"] = authorization
        body = one.body if isinstance(one.body, bytes) else json.dumps(one.body).encode()
        body = self.fill(body.decode()).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=60)
        try:
            connection.request(one.method, self.fill(one.path), body, headers)
            response = connection.getresponse()
            return Answer(response.status, str(response.headers), response.read())
        finally:
            connection.close()

    def state(self) -> list[Any]:
        """What requests could have changed."""
        looked = ("/instances", "/modalities", "/peers", "/dicom-web/servers", "/tools/labels", "/jobs")
        with requests.Session() as session:
            session.auth = self.server.admin
            found = [session.get(self.server.url + path, timeout=60).json() for path in looked]
        # The plugin's own labels come and go by themselves.
        found[4] = [label for label in found[4] if not label.startswith("provenance-")]
        return found


@pytest.fixture(scope="module")
def site(server_factory: ServerFactory) -> Iterator[Site]:
    users = {"doctor": DOCTOR[1]}
    config = {"WebDavEnabled": True, "ExecuteLuaEnabled": True, "RegisteredUsers": users}
    with server_factory(config=config) as server:
        image = made()
        store_visible(opened(server), image)
        study = orthanc_study(server, image.study)
        with requests.Session() as session:
            session.auth = server.admin
            (instance,) = session.get(f"{server.url}/studies/{study}/instances", timeout=60).json()
            patient = session.get(f"{server.url}/studies/{study}", timeout=60).json()["ParentPatient"]
        names = {
            "study_uid": image.study,
            "series_uid": image.series,
            "sop_uid": image.sop,
            "instance": instance["ID"],
            "series": instance["ParentSeries"],
            "study": study,
            "patient": patient,
        }
        yield Site(server, image, names)


@pytest.mark.parametrize("one", EVERY_TRY, ids=str)
def test_a_researcher_gets_nothing_and_changes_nothing(one: Try, site: Site) -> None:
    before = site.state() if one.method != "GET" or "_method" in one.path else None
    answer = site.ask(one, site.server.researcher)
    assert answer.status in REFUSED, answer
    assert [secret for secret in site.secrets if secret in answer.body] == []
    if before is not None:
        assert site.state() == before


@pytest.mark.parametrize("path", [*CLINICAL, *BESIDE])
def test_a_researcher_is_refused_before_anybody_looks_for_what_was_asked_for(path: str, site: Site) -> None:
    assert site.ask(Try("GET", path), site.server.researcher).status == 403


@pytest.mark.parametrize("one", EVERY_TRY, ids=str)
@pytest.mark.parametrize("who", ["nobody", "a wrong password", "an unknown user"])
def test_whoever_has_not_logged_in_gets_nothing(who: str, one: Try, site: Site) -> None:
    users = {"nobody": None, "a wrong password": ("admin", "wrong"), "an unknown user": ("eve", "")}
    answer = site.ask(one, users[who])
    assert answer.status in (400, 401), answer
    assert [secret for secret in site.secrets if secret in answer.body] == []


@pytest.mark.parametrize(
    "path", ["/studies", "/series", "/studies/{study_uid}", "/studies/{study_uid}/metadata"]
)
def test_the_research_root_wants_the_right_password(path: str, site: Site) -> None:
    one = Try("GET", RESEARCH + path)
    name, _ = site.server.researcher
    assert site.ask(one, site.server.researcher).status == 200
    assert site.image.study.encode() in site.ask(one, site.server.researcher).body
    for user in (None, (name, "wrong"), (name, ""), ("", "")):
        answer = site.ask(one, user)
        assert answer.status == 401
        assert 'www-authenticate: basic realm="' in answer.headers.lower()


@pytest.mark.parametrize(
    "form",
    [
        "basic {}",
        "BASIC {}",
        "Basic  {}",
        "Basic {} ",
        " Basic {}",
        "Basic\t{}",
        "Basic {}=",
        "Basic {},x",
        "{}",
    ],
)
def test_no_form_of_the_same_password_opens_clinical_paths(form: str, site: Site) -> None:
    code = base64.b64encode(":".join(site.server.researcher).encode()).decode()
    for path in ("/instances", FILE):
        answer = site.ask(Try("GET", path), None, authorization=form.format(code))
        assert answer.status in (400, 401, 403), answer
        assert [secret for secret in site.secrets if secret in answer.body] == []


def test_a_path_that_is_no_text_gets_nothing(site: Site) -> None:
    answer = site.ask(Try("GET", NO_TEXT), site.server.researcher)
    assert answer.status == 500
    assert [secret for secret in site.secrets if secret in answer.body] == []


def test_a_path_with_a_host_in_it_gets_no_answer_at_all(site: Site) -> None:
    path = f"http://127.0.0.1:{site.server.http_port}{FILE}"
    for user in (site.server.researcher, site.server.admin):
        with pytest.raises(http.client.RemoteDisconnected):
            site.ask(Try("GET", path), user)


def test_webdav_is_there_for_clinical_users(site: Site) -> None:
    for user in (site.server.admin, DOCTOR):
        assert site.ask(WEBDAV, user).status == 207


@pytest.mark.parametrize("path", CLINICAL)
def test_an_administrator_reaches_everything_as_before(path: str, site: Site) -> None:
    answer = site.ask(Try("GET", path), site.server.admin)
    assert answer.status == 200, answer
    assert answer.body


@pytest.mark.parametrize("path", CLINICAL)
def test_a_clinical_user_reaches_everything_but_the_reports_of_the_plugin(path: str, site: Site) -> None:
    answer = site.ask(Try("GET", path), DOCTOR)
    reports = ("/provenance/api/status", "/provenance/api/studies/{study_uid}")
    assert answer.status == (403 if path in reports else 200), answer


@pytest.mark.parametrize("path", ["", "/studies", "/studies/{study_uid}", "/studies/{study_uid}/metadata"])
def test_the_research_root_is_for_researchers_alone(path: str, site: Site) -> None:
    for user in (site.server.admin, DOCTOR):
        answer = site.ask(Try("GET", RESEARCH + path), user)
        assert answer.status == 403
        assert [secret for secret in site.secrets if secret in answer.body] == []


def test_an_administrator_is_told_of_the_study_and_of_the_state_of_research(site: Site) -> None:
    status = json.loads(site.ask(Try("GET", "/provenance/api/status"), site.server.admin).body)
    assert status["research_closed_because"] == ""
    report = json.loads(site.ask(Try("GET", "/provenance/api/studies/{study_uid}"), site.server.admin).body)
    assert report["routes"]["research"]["verdict"] == "release"
    assert site.ask(Try("GET", "/provenance/api/studies/1.2.3"), site.server.admin).status == 404
