"""What a manifest counts and says, in each of its forms; and what it never says."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import logging
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import mlcroissant
import pytest
from archive_fixture import (
    CONTENT,
    DERIVED,
    LABELLED,
    NON_IMAGE,
    ORIGINAL,
    UNDETERMINED,
    VISIBLE,
    Archive,
    fill,
)

from orthanc_provenance import __version__
from orthanc_provenance.cli import main
from orthanc_provenance.config import Route
from orthanc_provenance.doors.manifest_forms import COLUMNS, CSV_NAME, JSON_LD_NAME
from orthanc_provenance.index import totals
from orthanc_provenance.model import Assessment, Axis, Evidence, Origin, Strength
from orthanc_provenance.stamp.keys import pem_of
from orthanc_provenance.stamp.statement import PIXELS, Subject

FORMS = ("jsonld", "csv", "dsse")


def manifest(archive: Archive, query: str = "") -> dict[str, Any]:
    answer = archive.get(f"/manifest?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = json.loads(answer.data)
    return found


def told(archive: Archive, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = manifest(archive, query)["provenance"]
    return found


def rows(archive: Archive, query: str = "") -> list[dict[str, str]]:
    answer = archive.get(f"/manifest?format=csv&{query}")
    assert answer.content_type == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def made_by(name: str, origin: Origin = Origin.AI_DERIVED) -> Assessment:
    """An assessment by the name of a product, as `index.rows.generator` finds it."""
    named = Evidence("test.x", "(0008,1090)", name, Axis.ORIGIN, origin.value, Strength.EQUIPMENT)
    return Assessment(origin, evidence=(named,))


def counts(studies: int, series: int, instances: int) -> dict[str, int]:
    return {"studies": studies, "series": series, "instances": instances}


# -- what is counted ---------------------------------------------------------------------------------------


def test_only_what_may_leave_counts(filled: Archive) -> None:
    found = told(filled)

    assert found["counts"] == counts(
        len({item["StudyInstanceUID"] for item in VISIBLE}),
        len({item["SeriesInstanceUID"] for item in VISIBLE}),
        len(VISIBLE),
    )
    for state, amounts in found["states"].items():
        items = [item for item in VISIBLE if item.assessment.state.value == state]
        assert amounts == counts(
            len({item["StudyInstanceUID"] for item in items}),
            len({item["SeriesInstanceUID"] for item in items}),
            len(items),
        )
    assert found["states"].keys() == {item.assessment.state.value for item in VISIBLE}
    assert found["states"].keys() < {item.assessment.state.value for item in CONTENT}


@pytest.mark.parametrize(
    "query",
    [
        "SyntheticData=YES",
        "SyntheticData=NO",
        "ProvenanceState=privacy-protected",
        "ProvenanceState=original,ai-derived",
        "ModalitiesInStudy=MR",
        "StudyDate=20210101-20211231",
        "PatientName=doe*",
        "StudyInstanceUID=1.2.1,1.2.3,1.2.4",
        "SeriesInstanceUID=1.2.1.2",
        "PatientID=nobody",
        "PatientID=P9",
    ],
)
def test_a_manifest_speaks_of_the_studies_that_the_same_search_finds(query: str, filled: Archive) -> None:
    search = filled.get(f"/studies?{query}").get_json(force=True)
    found = {item["0020000D"]["Value"][0] for item in search}
    items = [item for item in VISIBLE if item["StudyInstanceUID"] in found]

    assert told(filled, query)["counts"] == counts(
        len(found), len({item["SeriesInstanceUID"] for item in items}), len(items)
    )


MIXTURES = {
    "one state": ((ORIGINAL,), (ORIGINAL, ORIGINAL)),
    "two states in one series": ((ORIGINAL, DERIVED),),
    "a report beside images": ((ORIGINAL,), (NON_IMAGE,)),
    "generators": ((made_by("A"), made_by("B"), made_by("A")), (made_by("B"), DERIVED)),
}


class Census:
    """Counts one by one, under any key."""

    def __init__(self) -> None:
        self._uids: dict[str, tuple[set[str], set[str], set[str]]] = {}

    def add(self, key: str, *uids: str) -> None:
        for known, uid in zip(self._uids.setdefault(key, (set(), set(), set())), uids, strict=True):
            known.add(uid)

    def counts(self) -> dict[str, dict[str, int]]:
        return {key: counts(*map(len, uids)) for key, uids in self._uids.items()}


def test_states_that_share_studies_and_series_are_counted_apart(archive: Archive) -> None:
    """Of every mixture more studies than of the one before it."""
    states, generators = Census(), Census()
    numbers = iter(range(100))
    for times, parts in enumerate(MIXTURES.values(), start=1):
        for study in (f"1.3.{next(numbers)}" for _ in range(times)):
            for place, part in enumerate(parts):
                for sop, one in enumerate(part):
                    uids = (study, f"{study}.{place}", f"{study}.{place}.{sop}")
                    archive.put(*uids, one, PatientID=study)
                    states.add(one.state.value, *uids)
                    if one.origin is Origin.AI_DERIVED:
                        generators.add(one.evidence[0].value if one is not DERIVED else "", *uids)
    archive.flush()

    found = told(archive)

    assert found["states"] == states.counts()
    assert {
        one["name"] or "": counts(one["studies"], one["series"], one["instances"])
        for one in found["generators"]
    } == generators.counts()


def test_what_hides_for_now_does_not_count(archive: Archive) -> None:
    kept = archive.put("1.2", "1.2.1", "1.2.1.1", PatientID="A")
    archive.put("1.3", "1.3.1", "1.3.1.1", PatientID="B", settled=False)
    archive.flush()
    assert told(archive)["counts"] == counts(1, 1, 1)

    archive.remove(kept)
    # What else there is has settled by now.
    assert told(archive)["counts"] == counts(1, 1, 1)


def test_each_route_counts_its_own(tmp_path: Path) -> None:
    routes = (Route(), Route(name="open", dicom_web_root="/open", users=("ada",), allow_undetermined=True))
    with Archive(tmp_path, routes) as archive:
        archive.put("1.2", "1.2.1", "1.2.1.1", UNDETERMINED)
        archive.flush()
        assert told(archive)["counts"] == counts(0, 0, 0)
        other = json.loads(archive.get("//open/manifest", user="ada").data)
        assert other["provenance"]["route"] == "open"
        assert other["provenance"]["states"] == {"undetermined": counts(1, 1, 1)}
        assert archive.get("//open/manifest").status_code == 403


def test_more_generators_than_are_listed_are_told_of(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "MAX_GENERATORS", 2)
    for number in range(3):
        archive.put("1.2", "1.2.1", f"1.2.1.{number}", made_by(f"Product {number}"))
    archive.flush()

    found = told(archive)
    assert len(found["generators"]) == 2
    assert found["moreGenerators"] is True
    assert told(archive, "StudyInstanceUID=1.9")["moreGenerators"] is False


# -- what is said ------------------------------------------------------------------------------------------


def test_a_generator_without_a_declaration_is_said_to_have_none(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", made_by("SubtleMR"))
    archive.put("1.2", "1.2.1", "1.2.1.2", DERIVED)
    archive.put("1.3", "1.3.1", "1.3.1.1", LABELLED, PatientID="hidden")
    archive.flush()

    found = manifest(archive)

    named = {one["name"]: one for one in found["provenance"]["generators"]}
    assert named.keys() == {"SubtleMR", None}
    assert named["SubtleMR"] == {
        "name": "SubtleMR",
        "origin": "ai-derived",
        "declaration": None,
        "declarationStatus": "none: this gateway holds no declaration of it",
        "intendedUses": [],
        "limitations": [],
        **counts(1, 1, 1),
    }
    sentences = " ".join(found["provenance"]["declare"])
    assert "1 of 1 studies hold images that an AI product made" in sentences
    assert "by SubtleMR; declaration: none" in sentences
    assert "does not give its name" in sentences
    assert "no declaration" in " ".join(found["rai:dataLimitations"])


def test_it_says_where_and_for_what_and_by_what_it_was_made(filled: Archive) -> None:
    found = told(filled)

    assert (found["route"], found["purpose"]) == ("research", "algorithm-development")
    assert (found["gatewayVersion"], found["catalogueRevision"]) == (__version__, "test-1")
    assert len(found["date"]) == 10


def test_an_empty_answer_is_a_manifest_too(filled: Archive) -> None:
    found = manifest(filled, "PatientID=nobody")

    assert found["provenance"]["states"] == {}
    assert found["rai:dataLimitations"] == ["The query finds nothing that may leave."]
    check_croissant(found)


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_it_holds_what_could_tell_a_patient(form: str, archive: Archive) -> None:
    fill(archive)
    secrets = ("Doe", "DOE", "P1", "A1", "1.2.1", "20200110", "0930", "Head", "Secret^Asked")
    query = (
        "PatientName=Doe*&PatientID=P1&AccessionNumber=A1&StudyInstanceUID=1.2.1&StudyDate=20200110-20200111"
        "&StudyTime=0930&StudyDescription=&SeriesDescription=*&Generator=Secret^Asked&Modality=CT"
    )

    answer = archive.get(f"/manifest?format={form}&{query}")

    assert answer.status_code == 200
    text = answer.text
    if form == "dsse":
        # As it stands it is random letters, which may spell anything.
        text = base64.b64decode(json.loads(text)["payload"]).decode()
    assert [secret for secret in secrets if secret in text] == []


def test_the_query_is_repeated_as_far_as_it_tells_of_no_patient(filled: Archive) -> None:
    keys = ("StudyDate=20200110-20211231", "Modality=CT", "PatientID=P1", "SyntheticData=NO")
    asked = "&".join((*keys, "ProvenanceState=original", "StudyTime="))

    assert told(filled, asked)["query"] == {
        "Modality": "CT",
        "PatientID": "(not repeated here)",
        "ProvenanceState": "original",
        "StudyDate": "2020-2021",
        "SyntheticData": "NO",
    }


def test_a_generator_is_repeated_where_it_was_found(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", made_by("SubtleMR"))
    archive.flush()

    assert told(archive, "Generator=SubtleMR&Generator=Doe John")["query"] == {
        "Generator": "SubtleMR, (not repeated here)"
    }


# -- its forms ---------------------------------------------------------------------------------------------


def check_croissant(found: dict[str, Any]) -> None:
    """Raises where the reference implementation finds an error."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    dataset = mlcroissant.Dataset(jsonld=json.loads(json.dumps(found)))
    issues = dataset.metadata.ctx.issues
    assert issues.errors == set()
    # It has no version numbers, and nobody knows how a site wants to be cited.
    assert [
        warning for warning in issues.warnings if "version" not in warning and "citeAs" not in warning
    ] == []


@pytest.mark.parametrize("query", ["", "SyntheticData=YES", "PatientID=nobody"])
def test_it_is_a_croissant_data_set(query: str, filled: Archive) -> None:
    found = manifest(filled, query)

    check_croissant(found)
    required = {
        "@context",
        "@type",
        "conformsTo",
        "description",
        "license",
        "name",
        "url",
        "creator",
        "datePublished",
    }
    assert required <= found.keys()
    assert (found["@type"], found["conformsTo"][0]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")


def test_csv_says_the_same(filled: Archive) -> None:
    query = "ModalitiesInStudy=CT,SC"
    found, read = told(filled, query), rows(filled, query)

    assert tuple(read[0]) == COLUMNS
    by_kind: dict[str, dict[str, dict[str, str]]] = {}
    for row in read:
        by_kind.setdefault(row["kind"], {})[row["name"]] = row
    assert {name: row["value"] for name, row in by_kind["query"].items()} == found["query"]
    assert by_kind["about"]["purpose"]["value"] == found["purpose"]
    for kind, name, amounts in [
        ("total", "", found["counts"]),
        *(("state", state, amounts) for state, amounts in found["states"].items()),
        *(("generator", one["name"] or "", one) for one in found["generators"]),
    ]:
        row = by_kind[kind][name]
        assert {key: int(row[key]) for key in ("studies", "series", "instances")} == {
            key: amounts[key] for key in ("studies", "series", "instances")
        }
    assert [row["value"] for row in read if row["kind"] == "declare"] == found["declare"]


@pytest.mark.parametrize("name", ["=HYPERLINK(0)", "+1", "-1", "@x", 'a"b,c', "\u5c71"])
def test_no_cell_is_a_formula(name: str, archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", made_by(name))
    archive.flush()

    (row,) = (row for row in rows(archive) if row["kind"] == "generator")
    assert row["name"] == (f"'{name}" if name[0] in "=+-@" else name)


def test_the_signed_form_binds_the_two_others(filled: Archive) -> None:
    answer = filled.get("/manifest?format=dsse&SyntheticData=YES")
    assert answer.content_type == "application/vnd.dsse.envelope.v1+json"
    signed = json.loads(base64.b64decode(json.loads(answer.data)["payload"]))

    assert signed["_type"] == "https://in-toto.io/Statement/v1"
    assert signed["predicateType"] == "urn:orthanc-provenance:manifest:v1"
    assert signed["predicate"] == manifest(filled, "SyntheticData=YES")
    digests = {one["name"]: one["digest"]["sha256"] for one in signed["subject"]}
    for form, name in (("jsonld", JSON_LD_NAME), ("csv", CSV_NAME)):
        data = filled.get(f"/manifest?format={form}&SyntheticData=YES").data
        assert digests[name] == hashlib.sha256(data).hexdigest()


def test_the_same_content_has_the_same_bytes(filled: Archive) -> None:
    for form in FORMS:
        first, second = (filled.get(f"/manifest?format={form}").data for _ in range(2))
        assert first == second


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/ld+json"),
        ("*/*", "application/ld+json"),
        ("application/json", "application/ld+json"),
        ("application/ld+json", "application/ld+json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/ld+json;q=0.5, text/csv", "text/csv; charset=utf-8"),
        ("application/vnd.dsse.envelope.v1+json", "application/vnd.dsse.envelope.v1+json"),
    ],
)
def test_the_client_chooses_the_form(accept: str, media_type: str, filled: Archive) -> None:
    answer = filled.get("/manifest", Accept=accept)

    assert (answer.status_code, answer.content_type) == (200, media_type)
    assert filled.get("/manifest", Accept="image/png").status_code == 406
    assert filled.get("/manifest?accept=text%2Fcsv", Accept=accept).mimetype == "text/csv"


@pytest.mark.parametrize(
    ("query", "told_"),
    [
        ("limit=10", "leave out limit"),
        ("offset=10", "leave out offset"),
        ("format=xml", "format must be one of"),
        ("format=csv&format=csv", "format must be one of"),
        ("PatientNam=x", "unknown query key"),
        ("StudyDate=yesterday", "StudyDate must look like"),
        ("ProvenanceState=fake", "unknown ProvenanceState"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(query: str, told_: str, filled: Archive) -> None:
    answer = filled.get(f"/manifest?{query}")

    assert answer.status_code == 400
    assert told_ in answer.get_json()["error"]


def test_while_research_is_closed_there_is_none(archive: Archive) -> None:
    archive.writer.failure = "no disk"

    assert archive.get("/manifest").status_code == 503


def test_only_so_many_are_counted_at_once(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.flush()
    inside, leave = threading.Semaphore(0), threading.Event()
    view = archive.gate.view

    def slow(route: Route) -> Any:
        inside.release()
        assert leave.wait(10)
        return view(route)

    monkeypatch.setattr(type(archive.gate), "view", lambda _gate, route: slow(route))
    found: Counter[int] = Counter()
    ask = [
        threading.Thread(target=lambda: found.update((archive.get("/manifest").status_code,)))
        for _ in range(2)
    ]
    for thread in ask:
        thread.start()
        assert inside.acquire(timeout=10)
    refused = archive.get("/manifest")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    leave.set()
    for thread in ask:
        thread.join()
    assert found == {200: 2}
    monkeypatch.undo()
    assert archive.get("/manifest").status_code == 200


# -- verified ----------------------------------------------------------------------------------------------


@pytest.fixture
def kept(filled: Archive, tmp_path: Path) -> Path:
    """A folder with a manifest in all its forms, and the public key of who made it."""
    for form, name in (("jsonld", JSON_LD_NAME), ("csv", CSV_NAME), ("dsse", "manifest.dsse.json")):
        (tmp_path / name).write_bytes(filled.get(f"/manifest?format={form}&SyntheticData=YES").data)
    (tmp_path / "key.pem").write_text(pem_of(filled.signer.public_key))
    return tmp_path


def verify(
    folder: Path, capsys: pytest.CaptureFixture[str], *keys: str
) -> tuple[int, str, list[str], list[str]]:
    """The exit status of the command `verify`, and the standing, what was altered, and why."""
    trusted = [part for key in keys for part in ("--keys", str(folder / key))]
    status = main(["verify", "--format", "jsonl", *trusted, "--manifest", str(folder / "manifest.dsse.json")])
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    return status, result.get("standing", "error"), result.get("altered", []), result.get("reasons", [])


def test_the_command_verifies_a_manifest(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(kept, capsys, "key.pem") == (0, "valid", [], [])


def test_a_manifest_of_a_stranger_is_not_trusted(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, standing, altered, (reason,) = verify(kept, capsys)

    assert (status, standing, altered) == (3, "untrusted", [])
    assert "not among the trusted ones" in reason


@pytest.mark.parametrize("name", [JSON_LD_NAME, CSV_NAME])
def test_a_file_that_was_changed_beside_its_manifest_is_found(
    name: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / name).write_bytes((kept / name).read_bytes().replace(b"ai-derived", b"original", 1))
    status, standing, altered, _ = verify(kept, capsys, "key.pem")
    assert (status, standing, altered) == (1, "altered", [name])

    (kept / name).unlink()
    assert verify(kept, capsys, "key.pem")[:3] == (0, "valid", [])


def test_a_manifest_that_was_changed_is_found(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kept / "manifest.dsse.json"
    envelope = json.loads(path.read_text())
    payload = base64.b64decode(envelope["payload"]).replace(b"ai-derived", b"original")
    envelope["payload"] = base64.b64encode(payload).decode()
    path.write_text(json.dumps(envelope, sort_keys=True, separators=(",", ":")))

    assert verify(kept, capsys, "key.pem")[:3] == (1, "altered", ["signature"])


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"x", b"[]", b'{"payload":"","payloadType":"x","signatures":[]}']
)
def test_what_is_no_manifest_is_told(data: bytes, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kept / "manifest.dsse.json").write_bytes(data)

    assert verify(kept, capsys, "key.pem")[:2] == (1, "error")


def test_the_statement_of_a_stamp_is_no_manifest(
    kept: Path, filled: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = filled.signer.sign(ORIGINAL, Subject(PIXELS, "sha256:" + "0" * 64), "test-1")
    (kept / "manifest.dsse.json").write_bytes(signed)

    assert verify(kept, capsys, "key.pem")[:2] == (1, "error")
