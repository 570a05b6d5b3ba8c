"""Who may ask, what administrators are told, and that errors and descriptions are what they say."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from archive_fixture import ORIGINAL, UNDETERMINED, UNLABELLED, Archive, fill
from evidence_samples import ENTRY, ids, load_site
from sqlalchemy import text

from orthanc_provenance.config import Route
from orthanc_provenance.doors import qido_answer
from orthanc_provenance.index import report

API = "//provenance/api"


def admin(archive: Archive, path: str, **headers: str) -> dict[str, object]:
    response = archive.get(f"{API}{path}", user="admin", **headers)
    assert response.status_code == 200, response.text
    found = response.get_json()
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "path",
    [
        "/studies",
        "/studies/1.2.1",
        "/nothing",
        f"{API}/status",
        f"{API}/studies/1.2.1",
        f"{API}/openapi.json",
    ],
)
def test_nobody_is_asked_to_log_in(filled: Archive, path: str) -> None:
    response = filled.get(path, user="")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="Orthanc Secure Area"'
    assert response.get_json()["status"] == 401


@pytest.mark.parametrize("user", ["admin", "Researcher", "researcher2", " "])
@pytest.mark.parametrize("path", ["/studies", "/studies/1.2.1", "/studies/1.2.1/metadata", "/nothing"])
def test_a_route_admits_only_its_users(filled: Archive, user: str, path: str) -> None:
    response = filled.get(path, user=user)
    assert response.status_code == 403
    assert b"1.2.1" not in response.data


@pytest.mark.parametrize(
    "path", ["/status", "/studies/1.2.1", "/studies/9.9", "/markers", "/markers/generator.gan", "/markers/x"]
)
def test_only_administrators_read_reports(filled: Archive, path: str) -> None:
    assert filled.get(f"{API}{path}").status_code == 403


def test_every_route_has_its_own_door_and_users(tmp_path: Path) -> None:
    routes = (Route(), Route(name="open", dicom_web_root="/open", users=("ada",), allow_undetermined=True))
    with Archive(tmp_path, routes) as archive:
        archive.put("1.2", "1.2.1", "1.2.1.1", UNDETERMINED)
        archive.flush()
        assert archive.get("/studies").get_json(force=True) == []
        assert archive.get("/studies", user="ada").status_code == 403
        assert archive.get("//open/studies").status_code == 403
        assert len(archive.get("//open/studies", user="ada").get_json(force=True)) == 1


@pytest.mark.parametrize("path", ["/studies", "/studies/1.2", "/studies/1.2/metadata"])
def test_closed_research_says_when_to_come_back_and_nothing_of_the_server(
    archive: Archive, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    archive.writer.failure = "the index /var/lib/secret.db cannot be used"
    with caplog.at_level(logging.INFO):
        response = archive.get(path)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "research is closed" in response.get_json()["error"]
    assert "secret.db" not in response.text
    assert "secret.db" in caplog.text


def test_an_index_that_fails_under_a_question_closes_research(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.flush()
    with archive.engine.begin() as connection:
        for table in ("verdicts", "released"):
            connection.execute(text(f"DROP TABLE {table}"))
    assert archive.get("/studies").status_code == 503
    assert archive.get(f"{API}/studies/1.2", user="admin").status_code == 503


def test_an_unexpected_error_is_logged_and_shows_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("inner workings")

    monkeypatch.setattr(qido_answer, "read_query", explode)
    with caplog.at_level(logging.ERROR):
        response = archive.get("/studies?PatientName=Secret")
    assert response.status_code == 500
    assert set(response.get_json()) == {"error", "status"}
    assert "inner workings" not in response.text
    assert "inner workings" in caplog.text
    assert "Secret" not in caplog.text


@pytest.mark.parametrize(
    "path", ["/studies", "/studies/1.2.1", "/studies/9.9", "/nothing", f"{API}/status", "//elsewhere"]
)
def test_answers_are_neither_kept_nor_guessed_at(filled: Archive, path: str) -> None:
    headers = filled.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_what_is_nowhere_is_told_in_json(filled: Archive) -> None:
    response = filled.get("//elsewhere")
    assert (response.status_code, response.content_type) == (404, "application/json")


def test_the_status_is_what_the_host_says(filled: Archive) -> None:
    assert admin(filled, "/status") == {"version": "test"}


def test_the_report_tells_administrators_everything_about_a_study(filled: Archive) -> None:
    found = admin(filled, "/studies/1.2.3")
    assert found["settled"] is True
    assert found["truncated"] is False
    assert found["routes"] == {"research": {"verdict": "withhold", "reasons": ["ai-derived-by-text-only"]}}
    original, derived, by_text = found["series"]  # type: ignore[misc]
    assert original["routes"] == {"research": {"verdict": "release", "reasons": ["acquired"]}}
    assert derived["routes"]["research"]["reasons"] == ["ai-derived-by-structured-evidence"]
    assert by_text["routes"]["research"]["verdict"] == "withhold"
    assert original["states"] == {"original": 1}
    assert by_text["Modality"] == "PT"
    (instance,) = by_text["instances"]
    assert instance["SOPInstanceUID"] == "1.2.3.3.1"
    assert instance["state"] == instance["origin"] == "ai-derived"
    assert instance["privacy"] == {"identity_removed": False, "defaced": False}
    assert instance["evidence"][0]["strength"] == "text"
    assert instance["catalogue"] == "test-1"
    assert instance["stamped"] is instance["labelled"] is False


def test_the_report_names_no_patient(filled: Archive) -> None:
    shown = json.dumps(admin(filled, "/studies/1.2.1"))
    assert "Doe" not in shown
    assert "P1" not in shown


def test_the_report_shows_what_is_not_settled(filled: Archive) -> None:
    assert admin(filled, "/studies/1.2.9")["settled"] is False


def test_studies_that_share_their_uid_are_one_report(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", ORIGINAL, PatientID="A")
    archive.put("1.2", "1.2.2", "1.2.2.1", UNLABELLED, PatientID="B", settled=False)
    archive.flush()
    found = admin(archive, "/studies/1.2")
    assert [series["SeriesInstanceUID"] for series in found["series"]] == ["1.2.1", "1.2.2"]  # type: ignore[attr-defined]
    assert found["routes"] == {"research": {"verdict": "block", "reasons": ["unlabelled-synthetic"]}}
    assert found["settled"] is False


def test_a_report_lists_so_many_instances_and_says_that_there_are_more(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_INSTANCES", 2)
    for number in range(3):
        archive.put("1.2", "1.2.1", f"1.2.1.{number}")
    archive.flush()
    found = admin(archive, "/studies/1.2")
    (series,) = found["series"]  # type: ignore[misc]
    assert [one["SOPInstanceUID"] for one in series["instances"]] == ["1.2.1.0", "1.2.1.1"]
    assert series["states"] == {"original": 3}
    assert found["truncated"] is True


def test_a_study_that_the_index_does_not_hold_is_not_found(filled: Archive) -> None:
    assert filled.get(f"{API}/studies/9.9", user="admin").status_code == 404
    assert filled.get(f"{API}/studies/x", user="admin").status_code == 400


def test_the_description_names_every_resource_of_the_api_and_no_other(filled: Archive) -> None:
    described = admin(filled, "/openapi.json")
    assert described == json.loads(
        resources.files("orthanc_provenance.web").joinpath("openapi.json").read_text()
    )
    rules: dict[str, set[str]] = {}
    for rule in filled.app.url_map.iter_rules():
        if rule.rule.startswith("/provenance/api"):
            path = rule.rule.replace("<study>", "{StudyInstanceUID}").replace("<", "{").replace(">", "}")
            methods = {method.lower() for method in rule.methods or ()} - {"head", "options"}
            rules.setdefault(path, set()).update(methods)
    assert rules
    assert {path: set(methods) for path, methods in described["paths"].items()} == rules  # type: ignore[attr-defined]


def test_the_description_has_the_fields_of_a_report(filled: Archive) -> None:
    schemas = admin(filled, "/openapi.json")["components"]["schemas"]  # type: ignore[index]
    found = admin(filled, "/studies/1.2.3")
    series = found["series"][0]  # type: ignore[index]
    instance = series["instances"][0]
    for name, shown in (
        ("Study", found),
        ("Series", series),
        ("Instance", instance),
        ("Evidence", instance["evidence"][0]),
    ):
        assert set(schemas[name]["properties"]) == set(shown)


def test_any_user_who_has_logged_in_may_read_the_description(filled: Archive) -> None:
    assert filled.get(f"{API}/openapi.json", user="somebody").status_code == 200
    assert filled.get(f"{API}/nothing", user="admin").status_code == 404


def test_a_filled_archive_is_the_same_after_all_questions(tmp_path: Path, filled: Archive) -> None:
    with Archive(tmp_path) as fresh:
        fill(fresh)
        assert fresh.get("/instances").data == filled.get("/instances").data


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive of a site that has added a marker, overridden one, and written one that is refused."""
    catalogue = load_site(
        tmp_path_factory.mktemp("markers"),
        a=ENTRY,
        b=ENTRY.replace("site.generator", "simulator.victre"),
        c=ENTRY.replace("site.generator", "site.wrong").replace("source", "sauce"),
        d="[[marker",
    )
    with Archive(tmp_path_factory.mktemp("archive"), catalogue=catalogue) as made:
        yield made


def test_administrators_see_all_markers_and_which_are_the_sites(marked: Archive) -> None:
    found = admin(marked, "/markers")
    assert marked.catalogue is not None
    assert found["revision"] == marked.catalogue.revision
    by_id = {marker["id"]: marker for marker in found["markers"]}  # type: ignore[attr-defined]
    assert list(by_id) == sorted(ids(marked.catalogue))
    assert by_id["site.generator"] == {
        "id": "site.generator",
        "title": "A generator of this site",
        "axis": "origin",
        "says": "ai-generated",
        "strength": "equipment",
        "source": "its manual",
        "file": "a.toml",
        "site": True,
        "overrides": False,
    }
    told = {name: (by_id[name]["site"], by_id[name]["overrides"]) for name in by_id}
    assert told.pop("site.generator") == (True, False)
    assert told.pop("simulator.victre") == (True, True)
    assert set(told.values()) == {(False, False)}


def test_administrators_see_what_was_refused_and_what_to_do(marked: Archive) -> None:
    entry, file = admin(marked, "/markers")["problems"]  # type: ignore[misc]
    assert (entry["file"], entry["entry"]) == ("c.toml", "site.wrong")
    assert entry["reason"] == "unknown key 'sauce'"
    assert "did you mean source" in entry["suggestion"]
    assert (file["file"], file["entry"]) == ("d.toml", "")
    assert file["reason"]
    assert file["suggestion"]


def test_a_marker_is_shown_with_all_that_it_looks_at(marked: Archive) -> None:
    found = admin(marked, "/markers/site.generator")
    assert found["attributes"] == ["Manufacturer"]
    assert found["pattern"] == {"kind": "equals", "words": ["Dream Factory"]}
    assert found["guards"] == []
    assert found["examples"] == {
        "match": [{"Manufacturer": "Dream Factory"}],
        "no_match": [{"Manufacturer": "Dream"}],
    }
    assert admin(marked, "/markers/reconstruction.deep-resolve")["guards"]
    assert marked.get(f"{API}/markers/site.wrong", user="admin").status_code == 404


def test_the_description_has_the_fields_of_markers(marked: Archive) -> None:
    schemas = admin(marked, "/openapi.json")["components"]["schemas"]  # type: ignore[index]
    found = admin(marked, "/markers")
    for name, shown in (
        ("Markers", found),
        ("Marker", found["markers"][0]),  # type: ignore[index]
        ("MarkerProblem", found["problems"][0]),  # type: ignore[index]
        ("MarkerDetails", admin(marked, "/markers/site.generator")),
    ):
        assert set(schemas[name]["properties"]) == set(schemas[name]["required"]) == set(shown)
