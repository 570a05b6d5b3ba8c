"""Searching over DICOMweb: only what is released exists, and what the standard says about keys holds."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from archive_fixture import CONTENT, INVISIBLE, ORIGINAL, VISIBLE, Archive, Item, make_record
from dicomweb_client.web import DICOMwebClient
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

UIDS = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}


def ask(archive: Archive, path: str, **query: object) -> list[Any]:
    response = archive.get(f"{path}?{urlencode(query)}")
    assert response.status_code == 200, response.text
    found = response.get_json(force=True)
    assert isinstance(found, list)
    return found


def values(rows: list[Any], keyword: str) -> list[Any]:
    return [getattr(Dataset.from_json(row), keyword) for row in rows]


def uids(archive: Archive, resource: str, **query: object) -> list[str]:
    return values(ask(archive, f"/{resource}", **query), UIDS[resource])


# What a query should find, by a second way.


def like(value: str, pattern: str) -> bool:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def meets(item: Item, keyword: str, wanted: str) -> bool:
    value = item[keyword]
    if not wanted:
        return True
    if keyword == "ModalitiesInStudy":
        return any(like(other["Modality"], wanted) for other in same_study(item))
    if keyword.endswith("UID"):
        return value in wanted.split(",")
    if keyword in ("StudyDate", "StudyTime") and "-" in wanted:
        low, high = wanted.split("-")
        return value != "" and (not low or low <= value) and (not high or value[: len(high)] <= high)
    if keyword == "PatientName":
        return like(value.upper(), wanted.upper())
    return like(value, wanted)


def same_study(item: Item) -> list[Item]:
    return [other for other in VISIBLE if other["StudyInstanceUID"] == item["StudyInstanceUID"]]


def is_synthetic(item: Item, keyword: str) -> bool:
    return any(other.synthetic for other in VISIBLE if other[keyword] == item[keyword])


def expected(resource: str, query: dict[str, str]) -> list[str]:
    keyword = UIDS[resource]
    synthetic, states = query.get("SyntheticData", ""), query.get("ProvenanceState", "")
    return sorted(
        {
            item[keyword]
            for item in VISIBLE
            if all(meets(item, key, value) for key, value in query.items() if key in KEYS)
            and (not synthetic or is_synthetic(item, keyword) == (synthetic == "YES"))
            and (not states or item.assessment.state.value in states.split(","))
        }
    )


KEYS = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientName", "PatientID", "StudyDate"),
    *("StudyTime", "Modality", "ModalitiesInStudy", "AccessionNumber", "SeriesNumber", "StudyDescription"),
)


@st.composite
def wanted(draw: st.DrawFn, keyword: str) -> str:
    """A value for a key: one that is there (also of what is hidden), a part of it with wildcards, a range."""
    source = "Modality" if keyword == "ModalitiesInStudy" else keyword
    present = sorted({item[source] for item in (*CONTENT, *INVISIBLE)} | {""})
    value = draw(st.sampled_from(present))
    if keyword.endswith("UID"):
        return ",".join(filter(None, {value, draw(st.sampled_from(present))}))
    if keyword in ("StudyDate", "StudyTime"):
        other = draw(st.sampled_from(present))
        made = draw(st.sampled_from((value, f"{value}-{other}", f"{value}-", f"-{other}")))
        return "" if made == "-" else made
    start, end = sorted(draw(st.tuples(st.integers(0, 20), st.integers(0, 20))))
    return draw(st.sampled_from((value, f"{value[:start]}*{value[end:]}", f"{value[:1]}?{value[2:]}*", "*")))


@st.composite
def queries(draw: st.DrawFn) -> dict[str, str]:
    chosen = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=3))
    query = {keyword: draw(wanted(keyword)) for keyword in chosen}
    synthetic = draw(st.sampled_from(("", "", "YES", "NO")))
    states = draw(
        st.sampled_from(("", "", "original", "ai-derived", "ai-derived,privacy-protected", "simulated"))
    )
    return (
        query
        | ({"SyntheticData": synthetic} if synthetic else {})
        | ({"ProvenanceState": states} if states else {})
    )


@settings(max_examples=300, deadline=None)
@given(resource=st.sampled_from(sorted(UIDS)), query=queries())
def test_a_query_finds_what_matches_among_the_released_and_nothing_else(
    filled: Archive, resource: str, query: dict[str, str]
) -> None:
    assert sorted(uids(filled, resource, **query)) == expected(resource, query)


@pytest.mark.parametrize("resource", sorted(UIDS))
def test_without_keys_exactly_the_released_are_found(filled: Archive, resource: str) -> None:
    found = uids(filled, resource)
    assert sorted(found) == expected(resource, {})
    hidden = {item[UIDS[resource]] for item in INVISIBLE} - {item[UIDS[resource]] for item in VISIBLE}
    assert hidden
    assert not hidden & set(found)


@pytest.mark.parametrize(
    "query", [{}, {"ProvenanceState": "original"}, {"Modality": "CT"}, {"ModalitiesInStudy": "CT"}]
)
def test_a_study_with_a_synthetic_series_says_so_however_it_was_found(
    filled: Archive, query: dict[str, str]
) -> None:
    rows = ask(filled, "/studies", StudyInstanceUID="1.2.3", **query)
    assert values(rows, "SyntheticData") == ["YES"]
    assert values(rows, "NumberOfStudyRelatedSeries") == [2]
    assert ask(filled, "/studies", StudyInstanceUID="1.2.3", SyntheticData="NO", **query) == []


def test_studies_that_share_their_uid_are_synthetic_together(archive: Archive) -> None:
    archive.put("1.2", "1.2.1", "1.2.1.1", PatientID="A")
    archive.put("1.2", "1.2.2", "1.2.2.1", PatientID="B", synthetic=True)
    archive.flush()
    assert uids(archive, "studies", SyntheticData="NO") == []
    assert values(ask(archive, "/studies"), "SyntheticData") == ["YES", "YES"]
    assert uids(archive, "series", SyntheticData="NO") == ["1.2.1"]


@pytest.mark.parametrize("resource", sorted(UIDS))
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_cover_everything_exactly_once(filled: Archive, resource: str, size: int) -> None:
    found: list[str] = []
    while page := uids(filled, resource, limit=size, offset=len(found)):
        assert len(page) <= size
        found += page
    assert sorted(found) == expected(resource, {})


def test_a_page_that_is_not_the_last_says_that_there_is_more(filled: Archive) -> None:
    total = len(expected("studies", {}))
    assert "additional results" in filled.get(f"/studies?limit={total - 1}").headers["Warning"]
    assert "Warning" not in filled.get(f"/studies?limit={total}").headers
    assert filled.get("/studies?limit=0").get_json(force=True) == []


def test_below_a_study_or_series_only_its_own_is_found(filled: Archive) -> None:
    assert values(ask(filled, "/studies/1.2.1/series"), "SeriesInstanceUID") == ["1.2.1.1", "1.2.1.2"]
    assert len(ask(filled, "/studies/1.2.1/instances")) == 3
    assert values(ask(filled, "/studies/1.2.1/series/1.2.1.1/instances"), "InstanceNumber") == [1, 2]
    assert ask(filled, "/studies/1.2.3/series/1.2.1.1/instances") == []


@pytest.mark.parametrize("below", ["series", "instances"])
def test_below_a_hidden_study_there_is_as_much_as_below_one_that_never_was(
    filled: Archive, below: str
) -> None:
    for item in INVISIBLE:
        if item["StudyInstanceUID"] not in {other["StudyInstanceUID"] for other in VISIBLE}:
            hidden = filled.get(f"/studies/{item['StudyInstanceUID']}/{below}")
            never = filled.get(f"/studies/9.9.9/{below}")
            assert (hidden.status_code, hidden.data, list(hidden.headers)) == (
                never.status_code,
                never.data,
                list(never.headers),
            )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"PatientName": "doe^john"}, ["1.2.1"]),
        ({"PatientName": "DOE*"}, ["1.2.1"]),
        ({"PatientName": "d?e^*"}, ["1.2.1"]),
        ({"PatientName": "Doe"}, []),
        ({"PatientName": "*太郎*"}, ["1.2.3"]),
        ({"PatientID": "p1"}, []),
        ({"PatientID": "P_2%"}, ["1.2.2", "1.2.7"]),
        ({"PatientID": "P_*"}, ["1.2.2", "1.2.7"]),
        ({"StudyDescription": "Head 50%*"}, ["1.2.2"]),
        ({"StudyDate": "20200110"}, ["1.2.1"]),
        ({"StudyDate": "20200110-20210615"}, ["1.2.1", "1.2.2", "1.2.7"]),
        ({"StudyDate": "20210616-"}, ["1.2.3"]),
        ({"StudyDate": "-20200110"}, ["1.2.1"]),
        ({"StudyTime": "0930-0930"}, ["1.2.1"]),
        ({"StudyTime": "2359-"}, ["1.2.2", "1.2.7"]),
        ({"StudyInstanceUID": "1.2.1,1.2.3"}, ["1.2.1", "1.2.3"]),
        ({"StudyInstanceUID": "1.2.1\\1.2.4"}, ["1.2.1"]),
        ({"00100020": "P3"}, ["1.2.3"]),
        ({"0008001c": "yes"}, ["1.2.3"]),
        ({"ModalitiesInStudy": "PT"}, []),
        ({"ModalitiesInStudy": "MR"}, ["1.2.1", "1.2.2"]),
        ({"PatientName": ""}, ["1.2.1", "1.2.2", "1.2.3", "1.2.7"]),
    ],
)
def test_keys_match_as_the_standard_says(filled: Archive, query: dict[str, str], found: list[str]) -> None:
    assert sorted(uids(filled, "studies", **query)) == found


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("Colour=red", "Colour"),
        ("00101010=3", "00101010"),
        ("ProvenanceState=real", "real"),
        ("SyntheticData=MAYBE", "SyntheticData"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("offset=1e3", "offset"),
        ("offset=99999999999999999999", "offset"),
        ("StudyDate=yesterday", "StudyDate"),
        ("StudyDate=-", "StudyDate"),
        ("StudyTime=9", "StudyTime"),
        ("StudyInstanceUID=*", "StudyInstanceUID"),
        ("PatientID=1&PatientID=2", "PatientID"),
        ("PatientID=1&00100020=2", "PatientID"),
        ("PatientID=a%00b", "PatientID"),
        (f"PatientID={'a' * 1025}", "PatientID"),
        ("&".join(f"includefield={number}" for number in range(65)), "64"),
        (f"includefield={'a' * 8192}", "8192"),
        ("fuzzymatching=perhaps", "fuzzymatching"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused_by_name(filled: Archive, query: str, named: str) -> None:
    response = filled.get(f"/studies?{query}")
    assert response.status_code == 400
    assert response.get_json()["status"] == 400
    assert named in response.get_json()["error"]


def test_the_path_wins_over_the_query(filled: Archive) -> None:
    assert filled.get("/studies/1.2.1/series?StudyInstanceUID=1.2.3").status_code == 400
    assert len(ask(filled, "/studies/1.2.1/series", StudyInstanceUID="1.2.1")) == 2


@pytest.mark.parametrize("uid", ["1.2.*", "abc", "1" * 65, "1.2%20", "%E4%BD%A0"])
def test_what_is_no_uid_is_refused_in_the_path(filled: Archive, uid: str) -> None:
    assert filled.get(f"/studies/{uid}/series").status_code == 400


def test_fuzzy_matching_stays_literal_and_says_so(filled: Archive) -> None:
    plain = filled.get("/studies?PatientName=Doe&fuzzymatching=false")
    fuzzy = filled.get("/studies?PatientName=Doe&fuzzymatching=true&includefield=all&includefield=00081030,x")
    assert plain.data == fuzzy.data == b"[]"
    assert "Warning" not in plain.headers
    assert re.match(r'299 \S+ "The fuzzymatching parameter is not supported\.', fuzzy.headers["Warning"])


def test_rows_hold_what_the_standard_demands(filled: Archive) -> None:
    (row,) = ask(filled, "/studies", StudyInstanceUID="1.2.3")
    assert row["00100010"] == {
        "vr": "PN",
        "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}],
    }
    assert row["00080061"] == {"vr": "CS", "Value": ["CT", "SC"]}
    assert row["00201206"] == {"vr": "IS", "Value": [2]}
    assert row["00201208"] == {"vr": "IS", "Value": [2]}
    assert row["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
    assert row["00081190"] == {"vr": "UR", "Value": ["http://localhost/research/dicom-web/studies/1.2.3"]}
    assert row["00081030"] == {"vr": "LO"}
    (series,) = ask(filled, "/series", SeriesInstanceUID="1.2.1.1")
    assert series["00201209"] == {"vr": "IS", "Value": [2]}
    assert series["00081190"]["Value"][0].endswith("/studies/1.2.1/series/1.2.1.1")
    assert series["0008001C"] == {"vr": "CS", "Value": ["NO"]}
    (instance,) = ask(filled, "/instances", SOPInstanceUID="1.2.1.1.2")
    assert instance["00081190"]["Value"][0].endswith("/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.2")
    assert instance["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.7"]


def test_the_url_of_a_row_is_that_under_which_the_client_asked(filled: Archive) -> None:
    (row,) = filled.get("/studies?PatientID=P1", Host="pacs.example:8043").get_json(force=True)
    assert row["00081190"]["Value"] == ["http://pacs.example:8043/research/dicom-web/studies/1.2.1"]


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        (None, "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/dicom+json, application/json", "application/dicom+json"),
        ("application/json", "application/json"),
        ("application/dicom+json;q=0.2, application/json;q=0.9", "application/json"),
        ("text/html, */*;q=0.1", "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        ("application/dicom+json;q=0, */*", "application/json"),
    ],
)
def test_the_client_chooses_the_media_type(filled: Archive, accept: str | None, answer: str) -> None:
    headers = {} if accept is None else {"Accept": accept}
    response = filled.get("/studies", **headers)
    assert (response.status_code, response.content_type) == (200, answer)


@pytest.mark.parametrize(
    "accept",
    [
        *("text/html", 'multipart/related; type="application/dicom"', "application/dicom+json;q=0", "x"),
        "application/*;q=0, multipart/related;q=0, */*",
    ],
)
def test_a_client_that_takes_no_json_is_told(filled: Archive, accept: str) -> None:
    response = filled.get("/studies", Accept=accept)
    assert response.status_code == 406
    assert "application/dicom+json" in response.get_json()["error"]


def test_the_accept_parameter_wins_over_the_header(filled: Archive) -> None:
    response = filled.get("/studies?accept=application/json", Accept="application/dicom+json")
    assert response.content_type == "application/json"


@pytest.mark.parametrize("plus", ["+", "%2B", "%20"])
def test_a_plus_sign_in_the_accept_parameter_need_not_be_encoded(filled: Archive, plus: str) -> None:
    for media_type in ("json", "json;q=0.5", "json, text/html"):
        response = filled.get(f"/studies?accept=application/dicom{plus}{media_type}", Accept="text/html")
        assert response.content_type == "application/dicom+json"
    asked = f'multipart/related; type="application/dicom{plus}xml"'
    assert filled.get(f"/studies?accept={asked}").content_type.startswith("multipart/related")


def test_an_instance_on_its_way_is_not_found_and_may_close_its_study(archive: Archive) -> None:
    first = archive.put("1.2", "1.2.1", "1.2.1.1")
    archive.put("1.2", "1.2.1", "1.2.1.2")
    archive.flush()
    record = make_record(archive.stored[first], ORIGINAL)
    archive.pending.announce(record, thread=1, closes_study=False)
    assert uids(archive, "instances") == ["1.2.1.2"]
    assert values(ask(archive, "/studies"), "NumberOfStudyRelatedInstances") == [1]
    archive.pending.announce(record, thread=1, closes_study=True)
    assert uids(archive, "studies") == []
    archive.pending.written([(first, 1 << 30)])
    assert uids(archive, "instances") == ["1.2.1.1", "1.2.1.2"]


def test_the_usual_client_reads_the_answers(filled: Archive, live: str) -> None:
    client = DICOMwebClient(live)
    rows = client.search_for_studies(limit=2, get_remaining=True)
    assert sorted(values(rows, "StudyInstanceUID")) == expected("studies", {})
    assert client.search_for_series("1.2.4") == []
