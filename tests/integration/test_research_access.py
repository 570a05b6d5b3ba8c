"""Several routes on one server, and all who may ask: users of Orthanc, of a proxy, holders of tokens."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from door import made, opened, store
from support import RESEARCH, Image, reported, until

from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc

FIRST, SECOND = RESEARCH, "/reading/dicom-web"
TOKENS, STATUS = "/provenance/api/tokens", "/provenance/api/status"
CLINICAL = ("/instances", "/tools/lookup", "/dicom-web/studies", "/system", "/", STATUS, TOKENS, "/research")
READER, TECHNICAL = ("reader", "a reader's password"), ("technical", "the proxy's password")
# Every request of a test comes from here, as far as Orthanc lets any come from elsewhere.
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
ROUTES = {
    "research": {"DicomWebRoot": FIRST, "Users": ["researcher", "ada", "group:lab"]},
    "reading": {
        "DicomWebRoot": SECOND,
        "Users": ["reader"],
        "DicomPort": 4244,
        "DicomAet": "READING",
        "Purpose": "reader-study",
        "RequireIdentityRemoved": True,
        "AllowUndetermined": True,
    },
}


@dataclass(frozen=True)
class Site:
    """A server with two routes: `plain` may leave by the first alone, `protected` by both, and `unknown`,
    of which nothing is known but that its identity was removed, by the second alone."""

    server: Server
    plain: Image
    protected: Image
    unknown: Image

    def ask(self, path: str, user: tuple[str, str] | None = None, **headers: str) -> requests.Response:
        """The answer to a request; an underscore in the name of a header stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(f"{self.server.url}{path}", auth=user, headers=named, timeout=60)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """What an administrator does over REST."""
        url = f"{self.server.url}{path}"
        return requests.request(method, url, auth=self.server.admin, timeout=60, **options)

    def seen(self, root: str, **who: Any) -> set[str]:
        """The studies that a requester finds below a root."""
        answer = self.ask(f"{root}/studies", **who)
        assert answer.status_code == 200, answer.text
        return {item["0020000D"]["Value"][0] for item in answer.json()}

    def make(self, route: str) -> dict[str, str]:
        """A new token, made by the administrator over REST."""
        body = {"name": "notebook", "route": route}
        answer = self.call("POST", TOKENS, json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, str] = answer.json()
        return found


def fill(server: Server) -> Site:
    removed = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "Basic Profile, by hand"}
    bare = {
        "Modality": "OT",
        "Manufacturer": "",
        "ManufacturerModelName": "",
        "ImageType": ["DERIVED", "SECONDARY"],
    }
    plain, protected = made(), made(**removed)
    unknown = made(name="MR_small.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", **bare, **removed)
    store(server, plain, protected, unknown)
    for image in (plain, protected, unknown):
        until(lambda image=image: reported(server, image), "the index knows the image")
    return Site(server, plain, protected, unknown)


@pytest.fixture(scope="module")
def site(server_factory: ServerFactory) -> Iterator[Site]:
    """Orthanc asks everybody for a password, and the only trusted proxy is another machine."""
    config = {
        "RegisteredUsers": dict((READER, TECHNICAL)),
        "Provenance": {"Routes": ROUTES, "TrustedProxies": {"Addresses": [ELSEWHERE]}},
    }
    with server_factory(config=config) as server:
        found = fill(opened(server))
        until(
            lambda: found.seen(SECOND, user=READER) == {found.protected.study, found.unknown.study},
            "the second route is filled",
        )
        yield found


@pytest.fixture(scope="module", params=["with a password", "without a password"])
def proxied(server_factory: ServerFactory, request: pytest.FixtureRequest) -> Iterator[Proxied]:
    """All requests come through a trusted proxy, which logs in to Orthanc with a password of its own."""
    asked = request.param == "with a password"
    config = {
        "AuthenticationEnabled": asked,
        "RegisteredUsers": dict((READER, TECHNICAL)),
        "Provenance": {
            "Routes": ROUTES,
            "AllowHoles": [] if asked else ["authentication-disabled"],
            "TrustedProxies": {"Addresses": [f"{HERE}/32"]},
        },
    }
    with server_factory(config=config) as server:
        proxy = Proxied(server, TECHNICAL if asked else None)
        until(
            lambda: not proxy.ask(STATUS, X_Forwarded_User="admin").json()["research_closed_because"],
            "research is open",
        )
        yield proxy


@pytest.fixture(scope="module")
def unasked(server_factory: ServerFactory) -> Iterator[tuple[Site, str]]:
    """Orthanc asks nobody for a password, and the site has accepted that; and a token, made by command."""
    config = {
        "AuthenticationEnabled": False,
        "Provenance": {"Routes": ROUTES, "AllowHoles": ["authentication-disabled"]},
    }
    with server_factory(config=config) as server:
        site = Site(server, *[made()] * 3)
        store(server, site.plain)
        until(lambda: command(server, "list").returncode == 0, "the index is there")
        token = command(server, "make", "--route", "research", "--name", "notebook").stdout.strip()
        until(lambda: site.ask(f"{FIRST}/studies", **bearer(token)).ok, "research is open")
        until(lambda: site.seen(FIRST, **bearer(token)), "research sees the image")
        yield site, token


@dataclass(frozen=True)
class Proxied:
    """A server behind a proxy that adds `user` to each request."""

    server: Server
    user: tuple[str, str] | None

    def ask(self, path: str, user: tuple[str, str] | None = None, **headers: str) -> requests.Response:
        """The answer to a request; an underscore in the name of a header stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(f"{self.server.url}{path}", auth=user or self.user, headers=named, timeout=60)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def command(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command `orthanc-provenance tokens` on the index of a running server."""
    action, *rest = arguments
    called = (sys.executable, "-c", "import sys; from orthanc_provenance.cli import main; sys.exit(main())")
    return subprocess.run(
        (*called, "tokens", action, "--database", str(server.data), *rest),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


# -- routes ------------------------------------------------------------------------------------------------


def test_each_route_shows_what_its_own_policy_releases(site: Site) -> None:
    assert site.seen(FIRST, user=site.server.researcher) == {site.plain.study, site.protected.study}
    assert site.seen(SECOND, user=READER) == {site.protected.study, site.unknown.study}


@pytest.mark.parametrize("rest", ["", "/studies", "/studies/{}", "/studies/{}/metadata", "/manifest", "/x"])
def test_a_user_of_one_route_learns_nothing_from_the_root_of_another(rest: str, site: Site) -> None:
    for root, user in ((FIRST, READER), (SECOND, site.server.researcher)):
        answers = [
            site.ask(f"{root}{rest.format(uid)}", user)
            for uid in (site.plain.study, site.unknown.study, "1.2.3")
        ]
        assert {answer.status_code for answer in answers} == {403}
        assert len({answer.content for answer in answers}) == 1


def test_what_another_route_releases_is_not_there(site: Site) -> None:
    for root, user, image in (
        (FIRST, site.server.researcher, site.unknown),
        (SECOND, READER, site.plain),
    ):
        hidden = site.ask(f"{root}/studies/{image.study}", user)
        never = site.ask(f"{root}/studies/1.2.3", user)
        assert (
            (hidden.status_code, hidden.content) == (never.status_code, never.content) == (404, never.content)
        )


# -- reverse proxies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (f"{FIRST}/studies", {"X_Forwarded_User": "ada"}, 200),
        (f"{FIRST}/studies", {"X_Forwarded_User": "eve", "X_Forwarded_Groups": "a, lab"}, 200),
        (f"{FIRST}/studies", {"X_Forwarded_User": "eve"}, 403),
        (f"{FIRST}/studies", {"X_Forwarded_User": "reader"}, 403),
        (f"{FIRST}/studies", {"X_Forwarded_User": "ada, eve"}, 401),
        (f"{FIRST}/studies", {"X_Forwarded_Groups": "lab"}, 401),
        (f"{FIRST}/studies", {}, 401),
        (f"{SECOND}/studies", {"X_Forwarded_User": "reader"}, 200),
        (f"{SECOND}/studies", {"X_Forwarded_User": "ada"}, 403),
        (STATUS, {"X_Forwarded_User": "admin"}, 200),
        (STATUS, {"X_Forwarded_User": "doctor"}, 403),
        (STATUS, {}, 401),
    ],
)
def test_a_trusted_proxy_alone_says_who_asks(
    path: str, headers: dict[str, str], status: int, proxied: Proxied
) -> None:
    assert proxied.ask(path, **headers).status_code == status


def test_without_the_header_a_password_for_orthanc_makes_nobody_of_a_requester(proxied: Proxied) -> None:
    for user, path in ((READER, f"{SECOND}/studies"), (proxied.server.admin, STATUS)):
        assert proxied.ask(path, user).status_code == 401


def test_no_spelling_of_the_header_passes_for_it(proxied: Proxied) -> None:
    url = f"{proxied.server.url}{FIRST}/studies"
    for name in ("x_forwarded_user", "X-Forwarded_User"):
        assert requests.get(url, auth=proxied.user, headers={name: "ada"}, timeout=60).status_code == 401


@pytest.mark.parametrize("path", CLINICAL)
def test_a_research_user_of_the_proxy_is_locked_out_and_a_doctor_is_not(path: str, proxied: Proxied) -> None:
    assert proxied.ask(path, X_Forwarded_User="ada").status_code == 403
    assert proxied.ask(path, X_Forwarded_User="eve", X_Forwarded_Groups="lab").status_code == 403
    answer = proxied.ask(path, X_Forwarded_User="doctor")
    assert answer.status_code == {STATUS: 403, TOKENS: 403, "/research": 404, "/tools/lookup": 405}.get(
        path, 200
    )


def test_the_header_of_anybody_else_is_ignored(site: Site) -> None:
    named = {"X_Forwarded_User": "admin", "X_Forwarded_Groups": "lab"}

    assert site.ask(f"{FIRST}/studies", TECHNICAL, **named).status_code == 403
    assert site.ask(STATUS, TECHNICAL, **named).status_code == 403
    assert site.ask(f"{FIRST}/studies", None, **named).status_code == 401
    assert site.seen(FIRST, user=site.server.researcher, **named)


# -- tokens ------------------------------------------------------------------------------------------------


def test_while_orthanc_asks_for_passwords_a_token_travels_beside_one(site: Site) -> None:
    text = site.make("reading")["token"]

    assert site.seen(SECOND, user=TECHNICAL, X_Provenance_Token=text) == site.seen(SECOND, user=READER)
    # Orthanc refuses these before it asks any plugin.
    assert site.ask(f"{SECOND}/studies", Authorization=f"Bearer {text}").status_code == 401
    assert site.ask(f"{SECOND}/studies", X_Provenance_Token=text).status_code == 401


@pytest.mark.parametrize("path", [*CLINICAL, f"{FIRST}/studies"])
def test_a_token_opens_one_root_and_closes_everything_else(path: str, site: Site) -> None:
    text = site.make("reading")["token"]

    for user in (TECHNICAL, site.server.admin, site.server.researcher):
        assert site.ask(path, user, X_Provenance_Token=text).status_code == 403


def test_a_revoked_token_has_ended_with_the_next_request(site: Site) -> None:
    made_ = site.make("reading")
    shown: dict[str, Any] = {"user": TECHNICAL, "X_Provenance_Token": made_["token"]}
    assert site.seen(SECOND, **shown)

    assert site.call("DELETE", f"{TOKENS}/{made_['id']}").json()["state"] == "revoked"

    assert site.ask(f"{SECOND}/studies", **shown).status_code == 401
    for path in CLINICAL:
        assert site.ask(path, **shown).status_code == 403


def test_an_expired_token_has_ended(site: Site) -> None:
    made_ = site.make("reading")
    shown: dict[str, Any] = {"user": TECHNICAL, "X_Provenance_Token": made_["token"]}
    assert site.seen(SECOND, **shown)

    with closing(sqlite3.connect(site.server.data / "provenance.db", timeout=30)) as index, index:
        index.execute("UPDATE tokens SET expires = created WHERE id = ?", (made_["id"],))

    assert site.ask(f"{SECOND}/studies", **shown).status_code == 401
    assert site.ask("/instances", **shown).status_code == 403


def test_where_orthanc_asks_nobody_a_token_is_enough(unasked: tuple[Site, str]) -> None:
    site, token = unasked

    assert (
        site.seen(FIRST, **bearer(token)) == site.seen(FIRST, X_Provenance_Token=token) == {site.plain.study}
    )
    for path in (*CLINICAL, f"{SECOND}/studies"):
        assert site.ask(path, **bearer(token)).status_code == 403


def test_a_token_that_the_command_revokes_has_ended_with_the_next_request(unasked: tuple[Site, str]) -> None:
    site, _ = unasked
    token = command(site.server, "make", "--route", "research", "--name", "notebook").stdout.strip()
    assert site.ask(f"{FIRST}/studies", **bearer(token)).status_code == 200
    listed = command(site.server, "list", "--format", "jsonl").stdout.splitlines()
    (identifier,) = (one["id"] for one in map(json.loads, listed) if one["id"] in token)

    assert command(site.server, "revoke", identifier).returncode == 0

    assert site.ask(f"{FIRST}/studies", **bearer(token)).status_code == 401
    for path in CLINICAL:
        assert site.ask(path, **bearer(token)).status_code == 403


@pytest.mark.parametrize("path", [f"{FIRST}/studies", f"{SECOND}/studies", STATUS, TOKENS])
def test_where_orthanc_asks_nobody_who_says_nothing_is_nobody(path: str, unasked: tuple[Site, str]) -> None:
    site, _ = unasked

    assert site.ask(path).status_code == 401
    assert site.ask(path, X_Forwarded_User="admin").status_code == 401
    # A password that nobody has checked says nothing either.
    assert site.ask(path, ("reader", "x")).status_code in (401, 403)
    assert site.ask(path, ("admin", "x")).status_code == 401


def test_where_orthanc_asks_nobody_clinical_use_is_what_it_was(unasked: tuple[Site, str]) -> None:
    site, _ = unasked
    for headers in ({}, bearer("eyJhbGciOiJub25lIn0.e30."), {"X_Forwarded_User": "ada"}):
        answer = site.ask("/instances", **headers)
        assert answer.status_code == 200
        assert len(answer.json()) == 1
