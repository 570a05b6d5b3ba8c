"""Provenance in searches: filters, private attributes, and whose attributes a study is shown with."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from archive_fixture import DERIVED, LABELLED, NON_IMAGE, ORIGINAL, PROTECTED, UNDETERMINED, Archive, evidence
from dicom_samples import encode, image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.index.record import SERIES_ATTRIBUTES, attributes, read_requests
from orthanc_provenance.index.released import Kind, line, read_lines, write_lines
from orthanc_provenance.index.rows import generator
from orthanc_provenance.model import Assessment, Axis, Evidence, Origin, Privacy, Strength

STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"
NATIVE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def named(name: str, attribute: str = "(0008,1090)", strength: Strength = Strength.EQUIPMENT) -> Evidence:
    return Evidence("test", attribute, name, Axis.ORIGIN, Origin.AI_DERIVED.value, strength)


def derived_by(*found: Evidence) -> Assessment:
    return Assessment(Origin.AI_DERIVED, evidence=found)


def ask(archive: Archive, path: str, **query: object) -> list[Any]:
    response = archive.get(f"{path}?{urlencode(query)}")
    assert response.status_code == 200, response.text
    found = response.get_json(force=True)
    assert isinstance(found, list)
    return found


def found(archive: Archive, path: str, tag: str = STUDY_UID, **query: object) -> list[str]:
    return sorted(row[tag]["Value"][0] for row in ask(archive, path, **query))


@pytest.fixture
def sorts(archive: Archive) -> Archive:
    """One study of each sort that may leave, and one with a series that may not."""
    archive.put("1.1", "1.1.1", "1.1.1.1", ORIGINAL)
    archive.put("1.2", "1.2.1", "1.2.1.1", PROTECTED)
    archive.put("1.3", "1.3.1", "1.3.1.1", ORIGINAL, Modality="CT")
    archive.put("1.3", "1.3.2", "1.3.2.1", derived_by(named("SubtleMR")), synthetic=True, Modality="MR")
    archive.put("1.4", "1.4.1", "1.4.1.1", derived_by(named("Lunit, Inc.")))
    both = Assessment(Origin.ACQUIRED, Privacy(True, True), evidence=(evidence("acquired"),))
    archive.put("1.5", "1.5.1", "1.5.1.1", both)
    archive.put("1.5", "1.5.2", "1.5.2.1", NON_IMAGE)
    archive.put("1.6", "1.6.1", "1.6.1.1", ORIGINAL, Modality="CT")
    archive.put("1.6", "1.6.2", "1.6.2.1", LABELLED, Modality="PT")
    archive.flush()
    return archive


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ({"SyntheticData": "YES"}, ["1.3"]),
        ({"SyntheticData": "no"}, ["1.1", "1.2", "1.4", "1.5", "1.6"]),
        ({"0008001C": "YES,NO"}, ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]),
        ({"ProvenanceState": "original"}, ["1.1", "1.3", "1.6"]),
        ({"ProvenanceState": "ai-derived,privacy-protected"}, ["1.2", "1.3", "1.4", "1.5"]),
        ({"00991001": "non-image"}, ["1.5"]),
        ({"ProvenanceState": "ai-generated"}, []),
        ({"ProvenanceOrigin": "ai-derived"}, ["1.3", "1.4"]),
        ({"IdentityRemoved": "YES"}, ["1.2"]),
        ({"IdentityRemoved": "NO"}, ["1.1", "1.3", "1.4", "1.5", "1.6"]),
        ({"Defaced": "YES"}, ["1.5"]),
        ({"Defaced": "NO"}, ["1.1", "1.2", "1.3", "1.4", "1.6"]),
        ({"Generator": "SubtleMR"}, ["1.3"]),
        ({"Generator": "SubtleMR\\Lunit, Inc."}, ["1.3"]),
        ({"Generator": "Lunit, Inc."}, ["1.4"]),
        ({"Generator": "subtlemr"}, []),
        ({"Declaration": "https://example.org/1"}, []),
        ({"ProvenanceState": "original", "SyntheticData": "NO"}, ["1.1", "1.6"]),
        ({"ProvenanceState": "original", "Generator": "SubtleMR"}, ["1.3"]),
        ({"ProvenanceState": "", "Generator": ""}, ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]),
    ],
)
def test_studies_are_found_by_their_provenance(
    sorts: Archive, query: dict[str, str], studies: list[str]
) -> None:
    assert found(sorts, "/studies", **query) == studies


@pytest.mark.parametrize(
    ("query", "series"),
    [
        ({"SyntheticData": "NO", "StudyInstanceUID": "1.3"}, ["1.3.1"]),
        ({"ProvenanceState": "ai-derived"}, ["1.3.2", "1.4.1"]),
        ({"IdentityRemoved": "YES"}, ["1.2.1", "1.5.1"]),
        ({"Defaced": "YES"}, ["1.5.1"]),
        ({"Defaced": "NO", "StudyInstanceUID": "1.5"}, ["1.5.2"]),
        ({"Generator": "SubtleMR"}, ["1.3.2"]),
    ],
)
def test_series_and_instances_are_found_by_their_own(
    sorts: Archive, query: dict[str, str], series: list[str]
) -> None:
    assert found(sorts, "/series", SERIES_UID, **query) == series
    assert found(sorts, "/instances", SERIES_UID, **query) == series


def test_a_repeated_filter_asks_for_one_of_its_values(sorts: Archive) -> None:
    response = sorts.get("/studies?Generator=SubtleMR&Generator=Lunit,+Inc.")
    assert sorted(row[STUDY_UID]["Value"][0] for row in response.get_json(force=True)) == ["1.3", "1.4"]


@pytest.mark.parametrize(
    "name", ["ProvenanceState", "ProvenanceOrigin", "IdentityRemoved", "Defaced", "SyntheticData"]
)
def test_an_unknown_word_is_refused_with_those_that_are_known(sorts: Archive, name: str) -> None:
    response = sorts.get(f"/studies?{name}=perhaps")
    assert response.status_code == 400
    assert name in response.get_json()["error"]
    assert "known are" in response.get_json()["error"]


def test_answers_tell_provenance_in_a_private_block(sorts: Archive) -> None:
    (study,) = ask(sorts, "/studies", StudyInstanceUID="1.3")
    assert study["00990010"] == {"vr": "LO", "Value": ["IMAGE PROVENANCE 1.0"]}
    assert study["00991001"] == {"vr": "LO", "Value": ["ai-derived", "original"]}
    assert study["00991002"] == {"vr": "LO", "Value": ["acquired", "ai-derived"]}
    assert study["00991003"] == {"vr": "LO", "Value": ["none"]}
    assert study["0099100B"] == {"vr": "LO", "Value": ["SubtleMR"]}
    assert "00991009" not in study
    (series,) = ask(sorts, "/series", SeriesInstanceUID="1.5.1")
    assert series["00991003"] == {"vr": "LO", "Value": ["identity-removed", "defaced"]}
    block = Dataset.from_json(study).private_block(0x0099, "IMAGE PROVENANCE 1.0")
    assert list(block[0x01].value) == ["ai-derived", "original"]


def test_what_is_withheld_is_neither_counted_nor_named(sorts: Archive) -> None:
    (study,) = ask(sorts, "/studies", StudyInstanceUID="1.6")
    assert study["00080061"]["Value"] == ["CT"]
    assert study["00201206"]["Value"] == study["00201208"]["Value"] == [1]
    assert study["0008001C"]["Value"] == ["NO"]
    assert found(sorts, "/studies", ModalitiesInStudy="PT") == []


def test_a_study_has_the_attributes_of_what_may_leave(archive: Archive) -> None:
    """Its first instance, from which Orthanc takes them, is withheld."""
    archive.put("1.1", "1.1.1", "1.1.1.1", UNDETERMINED, PatientName="Secret^Name", StudyDate="19990101")
    archive.put("1.1", "1.1.2", "1.1.2.1", ORIGINAL, PatientName="Open^Name", StudyDate="20200101")
    archive.flush()
    for path in ("/studies", "/series", "/instances"):
        (row,) = ask(archive, path)
        assert row["00100010"]["Value"] == [{"Alphabetic": "Open^Name"}]
        assert row["00080020"]["Value"] == ["20200101"]
        assert found(archive, path, PatientName="Secret*") == []
        assert found(archive, path, StudyDate="19990101") == []
        assert found(
            archive, path, PatientName="open*", StudyDate="2020-2021".replace("-", "0101-") + "0101"
        ) == ["1.1"]


def test_the_generator_is_the_name_of_a_model_before_that_of_a_maker() -> None:
    assert generator(derived_by(named("ACME", "(0008,0070)"), named("Net 3"))) == "Net 3"
    assert generator(derived_by(named("v2", "(0018,1020)[2]"), named("ACME", "(0008,0070)"))) == "ACME"
    assert generator(derived_by(named("by a net", "(0008,103E)"))) == "by a net"
    assert generator(derived_by(named("Net 3", strength=Strength.TEXT))) == ""
    assert generator(DERIVED) == ""
    acquired = Evidence("test", "(0008,1090)", "Scanner", Axis.ORIGIN, "acquired", Strength.EQUIPMENT)
    assert generator(Assessment(Origin.ACQUIRED, evidence=(acquired,))) == ""


def requested(*items: tuple[str, str]) -> Sequence:
    made = []
    for step, procedure in items:
        item = Dataset()
        item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
        made.append(item)
    return Sequence(made)


def test_one_item_of_request_attributes_must_meet_all_keys_of_it(archive: Archive) -> None:
    archive.put("1.1", "1.1.1", "1.1.1.1", RequestAttributesSequence=requested(("S1", "R1"), ("S2", "R2")))  # type: ignore[arg-type]
    archive.put("1.2", "1.2.1", "1.2.1.1", RequestAttributesSequence=requested(("S1", "R2")))  # type: ignore[arg-type]
    archive.flush()
    step, procedure = "RequestAttributesSequence.ScheduledProcedureStepID", "00400275.00401001"
    assert found(archive, "/series", SERIES_UID, **{step: "S1"}) == ["1.1.1", "1.2.1"]
    assert found(archive, "/series", SERIES_UID, **{step: "S1", procedure: "R2"}) == ["1.2.1"]
    assert found(archive, "/series", SERIES_UID, **{procedure: "R?", step: "S2"}) == ["1.1.1"]
    assert found(archive, "/studies", **{step: "S2"}) == ["1.1"]
    assert found(archive, "/instances", SOP_UID, **{"00400275.00400009": "S2"}) == ["1.1.1.1"]
    (row,) = ask(archive, "/series", SeriesInstanceUID="1.2.1")
    assert row["00400275"] == {
        "vr": "SQ",
        "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["R2"]}}],
    }
    archive.put("1.2", "1.2.1", "1.2.1.1", RequestAttributesSequence=requested(("S9", "R9")))  # type: ignore[arg-type]
    archive.flush()
    assert found(archive, "/series", SERIES_UID, **{step: "S1"}) == ["1.1.1"]


def test_items_without_an_identifier_are_no_requests() -> None:
    header = read_header(encode(image(RequestAttributesSequence=Sequence([Dataset()]))))
    assert read_requests(attributes(header, SERIES_ATTRIBUTES)["RequestAttributesSequence"]) == []
    assert read_requests("") == read_requests("[not ours") == []


def test_an_empty_value_is_found_where_the_query_says_so(archive: Archive) -> None:
    archive.put("1.1", "1.1.1", "1.1.1.1", AccessionNumber="A")
    archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.flush()
    assert found(archive, "/studies", AccessionNumber='""', emptyvaluematching="true") == ["1.2"]
    refused = archive.get('/studies?AccessionNumber=""')
    assert refused.status_code == 400
    assert "emptyvaluematching" in refused.get_json()["error"]


def test_several_values_of_a_key_are_parted_by_backslashes(archive: Archive) -> None:
    for number, name in enumerate(("A,B", "C", "D")):
        archive.put(
            f"1.{number}",
            f"1.{number}.1",
            f"1.{number}.1.1",
            AccessionNumber=name,
            Modality=("CT", "MR", "PT")[number],
        )
    archive.flush()
    assert found(archive, "/studies", AccessionNumber="A,B") == ["1.0"]
    assert found(archive, "/studies", AccessionNumber="A,B\\D", multiplevaluematching="true") == [
        "1.0",
        "1.2",
    ]
    assert found(archive, "/studies", ModalitiesInStudy="CT,PT") == ["1.0", "1.2"]
    assert found(archive, "/series", SERIES_UID, Modality="CT\\MR") == ["1.0.1", "1.1.1"]


def test_more_attributes_are_shown_where_they_are_asked_for(archive: Archive) -> None:
    archive.put("1.1", "1.1.1", "1.1.1.1", BodyPartExamined="HEAD", SeriesDate="20200102", ProtocolName="p")
    archive.flush()
    (plain,) = ask(archive, "/series")
    assert not {"00180015", "00080021", "00181030", "00080070"} & plain.keys()
    (some,) = ask(archive, "/series", includefield="BodyPartExamined,00080021,Rows,NoSuchThing")
    assert {tag: some[tag]["Value"] for tag in ("00180015", "00080021")} == {
        "00180015": ["HEAD"],
        "00080021": ["20200102"],
    }
    assert "00280010" not in some
    (every,) = ask(archive, "/series", includefield="all")
    assert {"00180015", "00080021", "00181030", "00080070"} <= every.keys()
    # Of repeated keys Orthanc shows plugins the last.
    assert ask(archive, "/series", includefield="ProtocolName") == [every]
    assert ask(archive, "/series", includefield="NoSuchThing") == [plain]
    (matched,) = ask(archive, "/series", ProtocolName="p")
    assert matched["00181030"]["Value"] == ["p"]
    (one,) = ask(archive, "/instances", includefield="all")
    assert one["00280010"] == {"vr": "US", "Value": [4]}
    assert one["00180015"]["Value"] == ["HEAD"]


def test_the_number_of_matches_is_told(sorts: Archive) -> None:
    assert sorts.get("/studies").headers["X-Total-Count"] == "6"
    assert sorts.get("/studies?limit=2").headers["X-Total-Count"] == "6"
    assert sorts.get("/series?limit=1&offset=3&SyntheticData=NO").headers["X-Total-Count"] == "7"
    assert sorts.get("/instances?limit=1&ProvenanceState=original,ai-derived").headers["X-Total-Count"] == "5"
    assert sorts.get("/studies?PatientID=nobody").headers["X-Total-Count"] == "0"


def test_newer_studies_come_first(archive: Archive) -> None:
    dates = ("20200101", "", "20230101", "20210505")
    for number, date in enumerate(dates):
        archive.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1", StudyDate=date)
    archive.flush()
    for path in ("/studies", "/series", "/instances", "/studies?ProvenanceState=original,ai-derived"):
        rows = archive.get(path).get_json(force=True)
        assert [row[STUDY_UID]["Value"][0] for row in rows] == ["1.2", "1.3", "1.0", "1.1"]


def test_xml_has_one_part_for_each_match(sorts: Archive) -> None:
    response = sorts.get(
        "/studies?ProvenanceState=ai-derived", Accept='multipart/related; type="application/dicom+xml"'
    )
    assert response.content_type.startswith('multipart/related; type="application/dicom+xml"; boundary=')
    boundary = response.content_type.partition("boundary=")[2].encode()
    parts = response.data.split(b"--" + boundary)[1:-1]
    assert len(parts) == 2
    for part in parts:
        head, _, body = part.partition(b"\r\n\r\n")
        assert b"application/dicom+xml" in head
        root = ElementTree.fromstring(body.strip())
        assert root.tag == f"{NATIVE}NativeDicomModel"
        elements = {(each.get("tag"), each.get("privateCreator")): each for each in root}
        uid = elements["0020000D", None]
        assert (uid.get("vr"), uid.get("keyword")) == ("UI", "StudyInstanceUID")
        assert uid.findtext(f"{NATIVE}Value") in ("1.3", "1.4")
        state = elements["00990001", "IMAGE PROVENANCE 1.0"]
        assert "ai-derived" in [value.text for value in state]


def test_nobody_looks_at_pages_without_end(sorts: Archive) -> None:
    assert sorts.get("/studies?offset=10000000").get_json(force=True) == []
    assert sorts.get("/studies?offset=10000001").status_code == 400
    assert sorts.get(f"/studies?ModalitiesInStudy={'CT,' * 40}").status_code == 400
    assert sorts.get(f"/studies?Generator={'a,' * 40}b").status_code == 200


def test_a_series_of_both_kinds_is_synthetic_and_its_instances_are_each_their_own(archive: Archive) -> None:
    archive.put("1.1", "1.1.1", "1.1.1.1", DERIVED, synthetic=True)
    archive.put("1.1", "1.1.1", "1.1.1.2", ORIGINAL)
    archive.put("1.1", "1.1.2", "1.1.2.1", ORIGINAL)
    # The same UIDs again in a study of another patient, which is one with it to whoever asks by them.
    archive.put("1.1", "1.1.1", "1.1.1.3", ORIGINAL)
    archive.put("1.1", "1.1.1", "1.1.1.3", DERIVED, synthetic=True, PatientID="another")
    archive.flush()
    synthetic = {"1.1.1.1", "1.1.1.3"}
    assert set(found(archive, "/instances", SOP_UID, SyntheticData="YES")) == synthetic
    assert set(found(archive, "/instances", SOP_UID, SyntheticData="NO")) == {"1.1.1.2", "1.1.2.1"}
    assert set(found(archive, "/series", SERIES_UID, SyntheticData="YES")) == {"1.1.1"}
    assert found(archive, "/series", SERIES_UID, SyntheticData="NO") == ["1.1.2"]
    assert found(archive, "/studies", SyntheticData="NO") == []
    told = {(row[SOP_UID]["Value"][0], row["0008001C"]["Value"][0]) for row in ask(archive, "/instances")}
    assert told == {(uid, "YES") for uid in synthetic} | {("1.1.1.2", "NO"), ("1.1.2.1", "NO")}


@pytest.mark.parametrize("name", ['a "b"\nstate "original"', "50%_x", "a\\u000ab", "ü^山"])
def test_terms_are_read_as_they_were_written_and_found_by_no_other(name: str) -> None:
    terms = {"generator": ("plain", name), "state": ("ai-derived",)}
    text = write_lines(terms)
    assert read_lines(text) == terms
    assert line(Kind.GENERATOR, name) in text
    assert line(Kind.STATE, "original") not in text
