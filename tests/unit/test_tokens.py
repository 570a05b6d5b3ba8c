"""Access tokens: made, shown once, looked up, expired, revoked; by REST and by command."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from archive_fixture import Archive
from sqlalchemy import text

from orthanc_provenance.cli import main
from orthanc_provenance.config import Route
from orthanc_provenance.doors.tokens import MAX_DAYS, Tokens
from orthanc_provenance.errors import IndexUnavailable, TokenError

API = "/provenance/api/tokens"
DAY = 86400
ROUTES = (Route(), Route(name="second", dicom_web_root="/second", users=()))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path, ROUTES) as made:
        made.flush()
        yield made


@pytest.fixture
def tokens(site: Archive, clock: Clock) -> Tokens:
    return Tokens(site.engine, clock)


# -- what a token is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["", " ", "Research", "a b", "a/b", "x" * 33, "group:lab"])
def test_a_token_opens_a_route_that_has_the_form_of_a_name(route: str, tokens: Tokens) -> None:
    with pytest.raises(TokenError, match="route"):
        tokens.make("name", route, 30, "admin")


def test_a_token_is_found_by_its_text_alone(tokens: Tokens) -> None:
    shown, token = tokens.make(" Ada's notebook ", "research", 30, "admin")
    other, _ = tokens.make("Ada's notebook", "research", 30, "admin")

    assert tokens.find(shown) == token
    assert token.name == "Ada's notebook"
    assert (token.route, token.made_by, token.expires - token.created) == ("research", "admin", 30 * DAY)
    assert shown != other
    swapped = shown[:18] + other[18:]
    for wrong in (
        swapped,
        shown[:-1],
        shown + "A",
        shown.upper(),
        shown[5:],
        f" {shown}",
        shown[:-1] + "\u00e9",
        "",
    ):
        assert tokens.find(wrong) is None


def test_a_token_has_256_random_bits_that_nobody_keeps(site: Archive, tokens: Tokens, tmp_path: Path) -> None:
    shown, _ = tokens.make("notebook", "research", 30, "admin")
    secret = re.fullmatch(r"prov-[0-9a-f]{12}-([A-Za-z0-9_-]{43})", shown)
    assert secret is not None
    site.engine.dispose()

    kept = b"".join(path.read_bytes() for path in tmp_path.glob("provenance.db*"))
    assert b"notebook" in kept
    for piece in (secret[1], secret[1][-4:], secret[1][:8]):
        assert piece.encode() not in kept


def test_a_token_ends_with_its_last_second(tokens: Tokens, clock: Clock) -> None:
    shown, token = tokens.make("notebook", "research", 1, "admin")

    clock.now = token.expires - 0.001
    assert tokens.find(shown) == token
    clock.now = token.expires
    assert tokens.find(shown) is None
    assert tokens.describe(token)["state"] == "expired"


def test_a_revoked_token_has_ended_for_everybody_at_once(site: Archive, tokens: Tokens, clock: Clock) -> None:
    shown, token = tokens.make("notebook", "research", 30, "admin")
    elsewhere = Tokens(site.engine, clock)
    assert elsewhere.find(shown) == token

    revoked = tokens.revoke(token.id)
    assert revoked is not None
    assert revoked.revoked == int(clock.now)
    assert elsewhere.find(shown) is tokens.find(shown) is None
    clock.now += 5
    # The first time counts.
    assert tokens.revoke(token.id) == revoked
    assert tokens.revoke("0" * 12) is None


def test_tokens_are_listed_newest_first_without_their_secrets(tokens: Tokens, clock: Clock) -> None:
    first, _ = tokens.make("first", "research", 30, "admin")
    clock.now += 1
    second, _ = tokens.make("second", "second", 30, "admin")

    shown = json.dumps([tokens.describe(token) for token in tokens.listed()])
    assert [token.name for token in tokens.listed()] == ["second", "first"]
    for one in (first, second):
        assert one[18:] not in shown


@pytest.mark.parametrize("name", ["", "  ", "a" * 65, "a\nb", "a\x00"])
def test_a_token_has_a_name_that_can_be_shown(name: str, tokens: Tokens) -> None:
    with pytest.raises(TokenError, match="printable"):
        tokens.make(name, "research", 30, "admin")


@pytest.mark.parametrize("days", [0, -1, MAX_DAYS + 1])
def test_a_token_ends_within_reason(days: int, tokens: Tokens) -> None:
    with pytest.raises(TokenError, match=f"1 to {MAX_DAYS} days"):
        tokens.make("name", "research", days, "admin")


def test_an_index_that_fails_knows_no_tokens(site: Archive, tokens: Tokens) -> None:
    shown, token = tokens.make("notebook", "research", 30, "admin")
    with site.engine.begin() as connection:
        connection.execute(text("DROP TABLE tokens"))

    for ask in (
        lambda: tokens.find(shown),
        tokens.listed,
        lambda: tokens.revoke(token.id),
        lambda: tokens.make("notebook", "research", 30, "admin"),
    ):
        with pytest.raises(IndexUnavailable):
            ask()
    answer = site.get("/studies", user="", Authorization=f"Bearer {shown}")
    assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5")


# -- over REST ---------------------------------------------------------------------------------------------


def call(site: Archive, method: str, path: str = "", user: str = "admin", **options: Any) -> Any:
    overrides = {"REMOTE_USER": user} if user else {}
    return site.client.open(f"{API}{path}", method=method, environ_overrides=overrides, **options)


def test_an_administrator_makes_lists_and_revokes_tokens(site: Archive) -> None:
    answer = call(site, "POST", json={"name": "notebook", "route": "second", "days": 7})
    assert answer.status_code == 200, answer.text
    made = answer.get_json()
    shown = made.pop("token")
    assert (made["name"], made["route"], made["made_by"], made["state"]) == (
        "notebook",
        "second",
        "admin",
        "valid",
    )
    assert site.get("//second/studies", user="", Authorization=f"Bearer {shown}").status_code == 200

    listed = call(site, "GET")
    assert listed.get_json() == {"tokens": [made]}
    assert shown[18:] not in listed.text

    revoked = call(site, "DELETE", f"/{made['id']}").get_json()
    assert revoked == {**made, "revoked": revoked["revoked"], "state": "revoked"}
    assert call(site, "GET").get_json() == {"tokens": [revoked]}
    assert site.get("//second/studies", user="", Authorization=f"Bearer {shown}").status_code == 401
    assert call(site, "DELETE", "/000000000000").status_code == 404


@pytest.mark.parametrize(("user", "status"), [("", 401), ("researcher", 403), ("ada", 403)])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", ""), ("DELETE", "/000000000000")])
def test_only_administrators_have_to_do_with_tokens(
    user: str, status: int, method: str, path: str, site: Archive
) -> None:
    body = {"json": {"name": "x", "route": "research"}} if method == "POST" else {}
    assert call(site, method, path, user, **body).status_code == status


def test_a_token_is_no_way_to_more_tokens(site: Archive) -> None:
    made = call(site, "POST", json={"name": "admin", "route": "research"}).get_json()
    bearer = {"Authorization": f"Bearer {made['token']}"}

    for method, path in (("GET", ""), ("POST", ""), ("DELETE", f"/{made['id']}")):
        assert call(site, method, path, headers=bearer).status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"json": {"name": "x", "route": "other"}}, 400, '"route" must be one of research, second'),
        ({"json": {"name": "x"}}, 400, '"route"'),
        ({"json": {"name": "", "route": "research"}}, 400, "1 to 64 printable"),
        ({"json": {"name": ["x"], "route": "research"}}, 400, '"name" must be a text'),
        ({"json": {"name": "x", "route": "research", "days": "7"}}, 400, '"days" a whole number'),
        ({"json": {"name": "x", "route": "research", "days": True}}, 400, '"days" a whole number'),
        ({"json": {"name": "x", "route": "research", "days": 10**9}}, 400, "days"),
        ({"json": {"name": "x", "route": "research", "expiry": 1}}, 400, "keys days, name, route"),
        ({"json": ["x"]}, 400, "JSON object"),
        ({"data": b"{", "content_type": "application/json"}, 400, "no JSON"),
        ({"data": b"[" * 4096, "content_type": "application/json"}, 400, "no JSON"),
        ({"data": b" " * 5000, "content_type": "application/json"}, 413, "longer than"),
        # What a page of another site can make a browser send.
        ({"data": b'{"name": "x", "route": "research"}', "content_type": "text/plain"}, 415, "Content-Type"),
        ({"data": {"name": "x", "route": "research"}}, 415, "Content-Type"),
    ],
)
def test_what_makes_no_token_is_refused_with_the_reason(
    body: dict[str, Any], status: int, told: str, site: Archive
) -> None:
    answer = call(site, "POST", **body)

    assert answer.status_code == status
    assert told in answer.get_json()["error"]
    assert call(site, "GET").get_json() == {"tokens": []}


# -- the command -------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(["tokens", *arguments])
    except SystemExit as ended:
        status = int(ended.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize("form", ["{}", "{}/provenance.db", "sqlite:///{}/provenance.db"])
def test_the_command_does_it_beside_a_running_server(
    form: str, site: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--database", form.format(tmp_path))
    status, out, err = run(capsys, "make", *where, "--route", "research", "--name", "Ada", "--days", "2")
    shown = out.strip()
    assert status == 0
    assert shown not in err
    assert site.get("/studies", user="", Authorization=f"Bearer {shown}").status_code == 200

    (listed,) = json.loads(f"[{run(capsys, 'list', *where, '--format', 'jsonl')[1]}]")
    assert (listed["name"], listed["state"], listed["made_by"][:8]) == ("Ada", "valid", "command:")
    assert shown[18:] not in json.dumps(listed)
    assert "Ada" in run(capsys, "list", *where)[1]

    assert run(capsys, "revoke", *where, listed["id"])[0] == 0
    assert site.get("/studies", user="", Authorization=f"Bearer {shown}").status_code == 401
    assert "revoked" in run(capsys, "list", *where)[1]


def test_the_command_says_where_a_route_releases_nothing(
    site: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.put("1.2", "1.2.1", "1.2.1.1")
    site.flush()
    make = ("make", "--database", str(tmp_path), "--name", "x", "--route")

    assert "nothing is released" in run(capsys, *make, "reserch")[2]
    assert "nothing is released" not in run(capsys, *make, "research")[2]


def test_the_command_adds_the_table_to_an_index_that_has_none(
    site: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with site.engine.begin() as connection:
        connection.execute(text("DROP TABLE tokens"))

    assert run(capsys, "list", "--database", str(tmp_path)) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("revoke", "--database", "{}", "000000000000"), 1, "no token '000000000000'"),
        (("make", "--database", "{}", "--route", "research", "--name", ""), 2, "printable"),
        (("make", "--database", "{}", "--route", "research", "--name", "x", "--days", "0"), 2, "days"),
        (("list", "--database", "{}/nowhere"), 2, "there is no file"),
        (("list", "--database", "sqlite:///{}/nowhere.db"), 2, "there is no file"),
        (("list", "--database", "sqlite://"), 2, "there is no file"),
        (("list", "--database", "oracel://x"), 2, "--database"),
        (("list", "--database", "{}/text.db"), 2, "cannot be used"),
        (("list",), 2, "--database"),
        ((), 2, "ACTION"),
    ],
)
def test_the_command_says_what_is_wrong_and_makes_nothing(
    arguments: tuple[str, ...],
    status: int,
    told: str,
    site: Archive,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.db").write_text("this is no database, and long enough to be looked at" * 100)
    before = set(tmp_path.iterdir())
    found = run(capsys, *(argument.format(tmp_path) for argument in arguments))

    assert found[0] == status
    assert told in found[2]
    assert found[1] == ""
    assert set(tmp_path.iterdir()) == before
    with closing(sqlite3.connect(tmp_path / "provenance.db")) as database:
        assert database.execute("SELECT count(*) FROM tokens").fetchone() == (0,)
