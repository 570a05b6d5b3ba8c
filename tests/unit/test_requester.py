"""Who a request comes from: a token, a trusted proxy or Orthanc's own users; and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_fixture import Archive

from orthanc_provenance.config import Route, TrustedProxies, read_settings
from orthanc_provenance.doors.requester import Requesters
from orthanc_provenance.doors.tokens import Token, Tokens
from orthanc_provenance.errors import ConfigurationError, IndexUnavailable
from orthanc_provenance.gate import Requester
from orthanc_provenance.host.bridge import Bridge

PROXIES = TrustedProxies(("10.1.2.3", "192.168.0.0/16", "fd00::/8"))
PROXY, OTHER = "10.1.2.3", "10.1.2.4"
GOOD, BAD = "prov-good", "prov-bad"
HOLDER = Requester("notebook", route="research")


def find_token(text: str) -> Token | None:
    return Token("0" * 12, "notebook", "research", "admin", 0, 1, 0) if text == GOOD else None


def identify(user: str = "", address: str = OTHER, **headers: str) -> Requester:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Requesters(PROXIES, find_token).identify(user, address, named)


# -- tokens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {GOOD}"},
        {"authorization": f"bearer  {GOOD} "},
        {"x_provenance_token": GOOD},
        {"x_provenance_token": GOOD, "authorization": "Basic YWRtaW46eA=="},
        {"x_provenance_token": GOOD, "authorization": f"Bearer {BAD}"},
    ],
)
@pytest.mark.parametrize("user", ["", "admin"])
@pytest.mark.parametrize("address", [OTHER, PROXY])
def test_whoever_shows_a_token_is_its_holder_and_nobody_else(
    headers: dict[str, str], user: str, address: str
) -> None:
    assert identify(user, address, x_forwarded_user="admin", **headers) == HOLDER


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {BAD}"}, {"x_provenance_token": BAD}, {"x_provenance_token": "x"}]
)
@pytest.mark.parametrize("address", [OTHER, PROXY])
def test_a_wrong_token_makes_its_sender_nobody_whoever_else_he_may_be(
    headers: dict[str, str], address: str
) -> None:
    assert identify("admin", address, x_forwarded_user="admin", **headers) == Requester()


@pytest.mark.parametrize("value", ["Bearer eyJhbGciOi.J9.x", "Digest prov-good", "", "prov-good", "Bearer"])
def test_credentials_of_other_kinds_are_no_token(value: str) -> None:
    requesters = Requesters(PROXIES, find_token)

    assert requesters.identify("ada", OTHER, {"authorization": value}) == Requester("ada")
    assert not requesters.claim("ada", OTHER, {"authorization": value}).by_token


def test_an_index_that_fails_makes_nobody_of_a_token_for_the_lock_and_an_error_for_the_doors() -> None:
    def fail(_text: str) -> Token | None:
        raise IndexUnavailable("no disk")

    requesters, headers = Requesters(PROXIES, fail), {"x-provenance-token": GOOD}

    claim = requesters.claim("ada", OTHER, headers)
    assert (claim.requester, claim.by_token) == (Requester(), True)
    with pytest.raises(IndexUnavailable):
        requesters.identify("ada", OTHER, headers)


# -- reverse proxies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [PROXY, "::ffff:10.1.2.3", "192.168.7.1", "fd00::17"])
def test_a_trusted_proxy_is_believed_about_user_and_groups(address: str) -> None:
    found = identify("technical", address, x_forwarded_user=" ada@x ", x_forwarded_groups="lab, ,second ward")

    assert found == Requester("ada@x", frozenset(("lab", "second ward")))


@pytest.mark.parametrize("address", [OTHER, "127.0.0.1", "::1", "", "10.1.2.3.evil", "unix:", "10.1.2.30"])
@pytest.mark.parametrize("user", ["", "ada"])
def test_nobody_else_is_believed(address: str, user: str) -> None:
    assert identify(user, address, x_forwarded_user="admin", x_forwarded_groups="lab") == Requester(user)


def test_without_proxies_nobody_is_believed() -> None:
    requesters = Requesters(TrustedProxies(), find_token)

    assert requesters.identify("", "127.0.0.1", {"x-forwarded-user": "ada"}) == Requester()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_forwarded_user": ""},
        {"x_forwarded_user": "  "},
        {"x_forwarded_groups": "lab"},
        # What was two headers on its way.
        {"x_forwarded_user": "ada, admin"},
        {"x_forwarded_user": "ada,ada"},
        {"x_forwarded_user": "ada\tadmin"},
        {"x_forwarded_user": "a" * 257},
        {"x_forwarded_user": "ada", "x_forwarded_groups": ",".join(map(str, range(300)))},
    ],
)
def test_through_a_proxy_that_names_no_user_comes_nobody(headers: dict[str, str]) -> None:
    """Whatever Basic credentials stand beside it: they are those of the proxy."""
    assert identify("admin", PROXY, **headers) == Requester()


def test_headers_have_the_configured_names() -> None:
    proxies = TrustedProxies((PROXY,), "Remote-User", "Remote-Groups")
    headers = {"remote-user": "ada", "remote-groups": "lab", "x-forwarded-user": "eve"}

    found = Requesters(proxies, find_token).identify("", PROXY, headers)
    assert found == Requester("ada", frozenset(("lab",)))


@pytest.mark.parametrize(
    ("requester", "entries", "named"),
    [
        (Requester("ada"), ("ada",), True),
        (Requester("ada", frozenset(("lab",))), ("group:lab",), True),
        (Requester("ada", frozenset(("lab",))), ("lab",), False),
        (Requester("ada", frozenset(("Lab",))), ("group:lab",), False),
        (Requester("group:lab"), ("group:lab",), False),
        (Requester("", frozenset(("lab",))), ("group:lab",), False),
        (Requester("ada", route="research"), ("ada",), False),
        (Requester("ada", route=""), ("ada",), False),
    ],
)
def test_names_of_users_and_groups_are_kept_apart(
    requester: Requester, entries: tuple[str, ...], named: bool
) -> None:
    assert requester.is_among(entries) is named


# -- configuration -----------------------------------------------------------------------------------------


def test_proxies_are_read_from_the_configuration() -> None:
    section = {"Addresses": ["127.0.0.1", "10.0.0.0/8"], "UserHeader": "Remote-User"}
    environment = {"ORTHANC__PROVENANCE__TRUSTED_PROXIES__GROUPS_HEADER": "Remote-Groups"}

    settings = read_settings({"Provenance": {"TrustedProxies": section}}, environment)

    assert settings.trusted_proxies == TrustedProxies(
        ("127.0.0.1", "10.0.0.0/8"), "Remote-User", "Remote-Groups"
    )


def test_by_default_no_proxy_is_trusted() -> None:
    assert read_settings({}, {}).trusted_proxies.addresses == ()


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"Addresses": ["proxy.example.org"]}, "no address and no network"),
        ({"Addresses": ["10.0.0.1/8"]}, "no address and no network"),
        ({"Addresses": ["0.0.0.0/0"]}, "everybody could say to be anybody"),
        ({"Addresses": ["::/0"]}, "everybody could say to be anybody"),
        ({"UserHeader": "Authorization"}, "headers of its own"),
        ({"UserHeader": "X-Provenance-Token"}, "headers of its own"),
        ({"UserHeader": "X_User"}, "headers of its own"),
        ({"UserHeader": "X-A", "GroupsHeader": "x-a"}, "the same header"),
        ({"Adresses": []}, '"Provenance.TrustedProxies.Adresses"; did you mean "Addresses"'),
        ("127.0.0.1", "must be a JSON object"),
    ],
)
def test_proxies_that_cannot_be_meant_are_refused_by_key(section: Any, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_settings({"Provenance": {"TrustedProxies": section}}, {})

    assert "Provenance.TrustedProxies" in str(refused.value)
    assert told in str(refused.value)


# -- in the web application --------------------------------------------------------------------------------

ROUTES = (
    Route(users=("researcher", "group:lab")),
    Route(name="second", dicom_web_root="/second", users=("grace",)),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive behind a trusted proxy, which its administrators come through too."""
    more = {"trusted_proxies": TrustedProxies((PROXY,)), "administrators": ("admin", "group:heads")}
    with Archive(tmp_path_factory.mktemp("site"), ROUTES, more=more) as made:
        made.flush()
        yield made


def ask(site: Archive, path: str, address: str = OTHER, user: str = "", **headers: str) -> int:
    response = site.client.get(
        path,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        environ_overrides={"REMOTE_USER": user, "REMOTE_ADDR": address},
    )
    return int(response.status_code)


FIRST, SECOND, STATUS = "/research/dicom-web/studies", "/second/studies", "/provenance/api/status"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (FIRST, {"X_Forwarded_User": "researcher"}, 200),
        (FIRST, {"X_Forwarded_User": "ada", "X_Forwarded_Groups": "lab"}, 200),
        (SECOND, {"X_Forwarded_User": "ada", "X_Forwarded_Groups": "lab"}, 403),
        (FIRST, {"X_Forwarded_User": "admin"}, 403),
        (FIRST, {}, 401),
        (STATUS, {"X_Forwarded_User": "admin"}, 200),
        (STATUS, {"X_Forwarded_User": "ada", "X_Forwarded_Groups": "heads"}, 200),
        (STATUS, {"X_Forwarded_User": "ada", "X_Forwarded_Groups": "lab"}, 403),
    ],
)
def test_the_doors_know_whom_a_trusted_proxy_names(
    path: str, headers: dict[str, str], status: int, site: Archive
) -> None:
    assert ask(site, path, PROXY, **headers) == status
    # The very same from elsewhere is nobody's.
    assert ask(site, path, OTHER, **headers) == 401


@pytest.mark.parametrize("path", [FIRST, SECOND, STATUS, "/provenance/api/openapi.json"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", OTHER, PROXY])
def test_who_says_nothing_is_nobody_on_loopback_too(path: str, address: str, site: Archive) -> None:
    assert ask(site, path, address) == 401


def test_a_token_opens_its_own_route_and_no_other_path(site: Archive) -> None:
    text, token = Tokens(site.engine).make("notebook", "second", 1, "admin")

    assert ask(site, SECOND, Authorization=f"Bearer {text}") == 200
    assert ask(site, SECOND, X_Provenance_Token=text) == 200
    for path in (FIRST, STATUS, "/provenance/api/tokens"):
        # Not even with the rights of an administrator beside it.
        assert ask(site, path, user="admin", X_Provenance_Token=text) == 403
    Tokens(site.engine).revoke(token.id)
    assert ask(site, SECOND, Authorization=f"Bearer {text}") == 401


def test_a_token_for_a_route_that_is_gone_opens_nothing(site: Archive) -> None:
    text, _ = Tokens(site.engine).make("notebook", "third", 1, "admin")

    assert {ask(site, path, Authorization=f"Bearer {text}") for path in (FIRST, SECOND, STATUS)} == {403}


def test_a_token_named_like_an_administrator_is_none(site: Archive) -> None:
    text, _ = Tokens(site.engine).make("admin", "research", 1, "admin")

    assert ask(site, STATUS, Authorization=f"Bearer {text}") == 403


def test_no_header_passes_for_another_by_its_underscores() -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.update(environ)
        start("200 OK", [])
        return [b""]

    bridge = Bridge(app, threads=1)
    bridge.start()
    headers = {"x-forwarded-user": "ada", "x_forwarded_user": "admin", "x-forwarded_groups": "heads"}
    output = type("Output", (), {"__getattr__": lambda _self, _name: lambda *_arguments: None})()
    try:
        bridge.handle(output, "/", {"method": "GET", "headers": headers}, "", PROXY)
    finally:
        bridge.stop()

    assert seen["HTTP_X_FORWARDED_USER"] == "ada"
    assert "HTTP_X_FORWARDED_GROUPS" not in seen
    assert seen["REMOTE_ADDR"] == PROXY


def test_without_a_proxy_its_headers_change_nothing(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.flush()
        assert archive.get("/studies", X_Forwarded_User="admin").status_code == 200
        assert archive.get("/studies", user="", X_Forwarded_User="researcher").status_code == 401
