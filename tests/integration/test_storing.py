"""With the plugin Orthanc stores and refuses what it does without it, and a stamp is all that is added."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pair import encoded, image
from pydicom import Dataset, dcmread
from support import report, status, until
from transports import TRANSPORTS, Answers, Files, post_files, session, store_as_is

from element_bytes import CREATOR, PIXEL_DATA, PRIVATE_GROUP, SYNTHETIC_DATA, Cut, cut, differences
from launch import Server, ServerFactory

pytestmark = pytest.mark.orthanc

# What cannot take a stamp: one has no file meta information, the other wrong Group Lengths.
NO_META, WRONG_LENGTHS = "syntax-1.2.840.10008.1.2.dcm", "syntax-1.2.840.10008.1.2.4.50.dcm"
UNFIT = {NO_META, WRONG_LENGTHS}
# Files whose Data Set does not say of which SOP Class it is.
NAMELESS = {"mr-hitachi-airis.dcm", "pt-cps-1023.dcm"}
SYNTHETIC = {"ai-generated", "simulated"}
_ORIGIN = 0x02


def made_synthetic(salt: str, *, labelled: bool = False, undefined_lengths: bool = False) -> bytes:
    dataset = image("CT_small.dcm", salt, ManufacturerModelName="StyleGAN2")
    if labelled:
        purpose, equipment = Dataset(), Dataset()
        purpose.CodeValue, purpose.CodingSchemeDesignator = "109100", "DCM"
        purpose.CodeMeaning = "Synthesizing Equipment"
        equipment.Manufacturer, equipment.PurposeOfReferenceCodeSequence = "ACME", [purpose]
        dataset.SyntheticData, dataset.ContributingEquipmentSequence = "YES", [equipment]
        dataset["ContributingEquipmentSequence"].is_undefined_length = undefined_lengths
    return encoded(dataset)


def made_with_private_block() -> bytes:
    dataset = image("MR_small.dcm", "private")
    dataset.private_block(PRIVATE_GROUP, "SITE 1.0", create=True).add_new(1, "LO", "of the site")
    return encoded(dataset)


MADE: dict[str, Callable[[], bytes]] = {
    "unlabelled": lambda: made_synthetic("unlabelled"),
    "labelled": lambda: made_synthetic("labelled", labelled=True),
    "labelled, undefined length": lambda: made_synthetic("undefined", labelled=True, undefined_lengths=True),
    "other private block": made_with_private_block,
}


@dataclass(frozen=True)
class Servers:
    """Two with the plugin, of which `other` trusts the keys of the first, and one without."""

    plugin: Server
    bare: Server
    other: Server


@dataclass(frozen=True)
class Kept:
    """What a server answered to each file, and the bytes of what it stored, by name."""

    answers: Answers
    stored: dict[str, bytes]


@dataclass(frozen=True)
class Sent:
    """What became of the same files with the plugin and without."""

    transport: str
    plugin: Kept
    bare: Kept


@pytest.fixture(scope="module")
def files(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Every real file and some made ones, by name."""
    root = shared_data / "real"
    found = {str(path.relative_to(root)): path for path in sorted(root.rglob("*.dcm"))}
    folder = tmp_path_factory.mktemp("made")
    for number, (name, make) in enumerate(MADE.items()):
        found[name] = folder / f"{number}.dcm"
        found[name].write_bytes(make())
    return found


@pytest.fixture(scope="module")
def servers(
    orthanc_version: str, server_factory: ServerFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    config = {"UnknownSopClassAccepted": True}
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    # From 1.13 on Orthanc can compare what comes with what it holds: a stamp must not make these unlike.
    again = {"OverwriteInstances": "IfChanged"} if orthanc_version == "1.13" else {}
    trusts = {"Provenance": {"TrustedKeys": [str(keys)]}}
    with (
        server_factory(config=config) as plugin,
        server_factory(config=config, plugin=False) as bare,
    ):
        with session(plugin) as http:
            keys.write_bytes(http.get(f"{plugin.url}/provenance/api/keys", timeout=60).content)
        with server_factory(config=again | trusts) as other:
            yield Servers(plugin, bare, other)


@pytest.fixture(scope="module", params=TRANSPORTS)
def sent(request: pytest.FixtureRequest, servers: Servers, files: Files) -> Sent:
    """All files sent in one way, to servers that hold nothing before and after."""
    with ThreadPoolExecutor(2) as pool:
        plugin = pool.submit(keep, servers.plugin, request.param, files)
        bare = pool.submit(keep, servers.bare, request.param, files)
    return Sent(request.param, plugin.result(), bare.result())


def keep(server: Server, transport: str, files: Files) -> Kept:
    kept = Kept({}, {})
    for some in without_repetition(files):
        kept.answers.update(TRANSPORTS[transport](server, some))
        held = archive(server)
        sops = {name: sop_uid(path.read_bytes()) for name, path in some.items()}
        kept.stored.update({name: held[sop] for name, sop in sops.items() if sop in held})
        empty(server)
    return kept


def without_repetition(files: Files) -> Iterator[Files]:
    """The files in portions, in none of which an object is there twice."""
    left = dict(files)
    while left:
        portion = {sop_uid(path.read_bytes()): name for name, path in left.items()}
        yield {name: left.pop(name) for name in portion.values()}


def sop_uid(data: bytes) -> str:
    return str(dcmread(io.BytesIO(data), force=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def archive(server: Server) -> dict[str, bytes]:
    """Everything that Orthanc holds, by SOP Instance UID."""
    with session(server) as http:
        ids = http.get(f"{server.url}/instances", timeout=60).json()
        held = (http.get(f"{server.url}/instances/{instance}/file", timeout=60).content for instance in ids)
        return {sop_uid(data): data for data in held}


def empty(server: Server) -> None:
    with session(server) as http:
        for patient in http.get(f"{server.url}/patients", timeout=60).json():
            assert http.delete(f"{server.url}/patients/{patient}", timeout=60).ok


def stamped_origin(found: Cut) -> str:
    """The origin in the stamp of a file, "" where there is none."""
    if not found.is_stamped:
        return ""
    value = found.dataset.private_block(PRIVATE_GROUP, CREATOR)[_ORIGIN].value
    # Without VRs pydicom does not know those of our private elements.
    return str(value.decode("ascii").strip() if isinstance(value, bytes) else value)


# -- every file, in every way ------------------------------------------------------------------------------


def test_every_file_gets_the_answer_that_orthanc_alone_gives(sent: Sent, files: Files) -> None:
    assert sent.plugin.answers.keys() == files.keys()
    assert sent.plugin.answers == sent.bare.answers
    assert sent.plugin.stored.keys() == sent.bare.stored.keys()


def test_all_is_stored_but_what_orthanc_cannot_name(sent: Sent, files: Files) -> None:
    # By POST alone Orthanc does not ask for the SOP Class.
    refused = set() if sent.transport == "POST" else NAMELESS
    assert files.keys() - sent.plugin.stored.keys() == refused


def test_a_stamp_is_all_that_is_added(sent: Sent) -> None:
    problems = {}
    for name, data in sent.plugin.stored.items():
        found = cut(data)
        if found.is_stamped:
            synthetic = stamped_origin(found) in SYNTHETIC
            problems[name] = differences(data, sent.bare.stored[name], synthetic=synthetic)
        else:
            problems[name] = [] if data == sent.bare.stored[name] else ["unlike what orthanc alone stores"]
    assert {name: told for name, told in problems.items() if told} == {}


def test_only_what_cannot_be_stamped_is_not(sent: Sent) -> None:
    unstamped = {name for name, data in sent.plugin.stored.items() if not cut(data).is_stamped}
    # DCMTK and pydicom write Group Lengths that are right, or none. File meta information is Orthanc's own
    # where a file came by C-STORE, and stays incomplete where the client sends it so.
    expected = {"POST": UNFIT, "STOW-RS": {NO_META}, "C-STORE": set()}
    assert unstamped == expected[sent.transport]


def test_the_pixels_are_those_that_were_sent(sent: Sent, files: Files) -> None:
    unlike = set()
    compared = 0
    for name, data in sent.plugin.stored.items():
        before, after = cut(files[name].read_bytes()), cut(data)
        if PIXEL_DATA in before.elements:
            compared += 1
            pixels = before.elements[PIXEL_DATA][before.header_size :]
            # Senders pad values of odd length.
            padded = pixels + b"\0" * (len(pixels) % 2 if sent.transport != "POST" else 0)
            if after.elements[PIXEL_DATA][after.header_size :] != padded:
                unlike.add(name)
    assert unlike == set()
    assert compared > 60


def test_the_origin_in_the_stamp_is_one_that_the_file_may_have(sent: Sent, shared_data: Path) -> None:
    lines = (shared_data / "labels.jsonl").read_text("utf-8").splitlines()
    allowed = {told["path"].removeprefix("real/"): told["origin"] for told in map(json.loads, lines)}
    allowed |= {name: ["ai-generated"] for name in MADE} | {"other private block": ["acquired"]}
    found = {name: stamped_origin(cut(data)) for name, data in sent.plugin.stored.items()}
    assert {name: origin for name, origin in found.items() if origin not in ["", *allowed[name]]} == {}


def test_synthetic_data_is_said_of_what_is_synthetic_and_of_nothing_else(sent: Sent) -> None:
    said = {name for name, data in sent.plugin.stored.items() if SYNTHETIC_DATA in cut(data).elements}
    assert said == MADE.keys() - {"other private block"}


# -- POST, where the bytes that were sent are known --------------------------------------------------------


@pytest.fixture(scope="module")
def posted(servers: Servers, files: Files) -> Kept:
    """All files by POST, kept on the server: of what is there twice, the first."""
    (some, *_) = without_repetition(files)
    answers = post_files(servers.plugin, some)
    held = archive(servers.plugin)
    return Kept(answers, {name: held[sop_uid(path.read_bytes())] for name, path in some.items()})


def test_without_its_stamp_a_posted_file_is_the_file_that_was_sent(posted: Kept, files: Files) -> None:
    problems = {
        name: differences(data, files[name].read_bytes(), synthetic=stamped_origin(cut(data)) in SYNTHETIC)
        for name, data in posted.stored.items()
        if name not in UNFIT
    }
    assert {name: told for name, told in problems.items() if told} == {}
    assert len(problems) > 70


def test_what_cannot_be_stamped_is_stored_as_sent_and_the_reason_is_told(
    posted: Kept, servers: Servers, files: Files
) -> None:
    for name in UNFIT:
        assert posted.stored[name] == files[name].read_bytes()
        (told,) = instances(servers.plugin, posted.stored[name])
        assert told["reason"].startswith("no stamp: ")
        assert not told["stamped"]


def test_sending_again_changes_nothing(posted: Kept, servers: Servers, files: Files) -> None:
    some = {name: files[name] for name in (*UNFIT, *MADE, "ct-tcia.dcm", "us-mindray.dcm", "pr-lunit.dcm")}
    before = {name: instances(servers.plugin, posted.stored[name]) for name in some}
    assert before["unlabelled"][0]["origin"] == "ai-generated"
    changes = new_instances(servers.plugin)
    for transport in TRANSPORTS.values():
        # The second time all is there on the bare server as well, so that both answer the same.
        transport(servers.bare, some)
        assert transport(servers.plugin, some) == transport(servers.bare, some)
    with session(servers.plugin) as http:
        for name in some:
            answer = http.post(f"{servers.plugin.url}/instances", data=posted.stored[name], timeout=60)
            assert answer.json()["Status"] == "AlreadyStored"
    until(lambda: not status(servers.plugin)["pending_instances"], "nothing is on its way")
    held = archive(servers.plugin)
    assert {name: held[sop_uid(path.read_bytes())] for name, path in some.items()} == {
        name: posted.stored[name] for name in some
    }
    assert {name: instances(servers.plugin, posted.stored[name]) for name in some} == before
    assert new_instances(servers.plugin) == changes
    empty(servers.bare)


def test_a_stamped_file_is_stored_unchanged_by_another_server_which_trusts_the_first(
    posted: Kept, servers: Servers, files: Files, tmp_path: Path
) -> None:
    stamped = {}
    for number, (name, data) in enumerate(posted.stored.items()):
        stamped[name] = tmp_path / f"{number}.dcm"
        stamped[name].write_bytes(data)
    answers = post_files(servers.other, stamped)
    assert all('"Status": "Success"' in answer for answer in answers.values())
    assert archive(servers.other) == archive(servers.plugin)
    for name, data in posted.stored.items():
        assert own_view(servers.other, data) == own_view(servers.plugin, data), name


def instances(server: Server, data: bytes) -> list[dict[str, Any]]:
    """What administrators are told of the object in `data`, once the index has it; `labelled` included."""
    read = dcmread(io.BytesIO(data), force=True, specific_tags=["StudyInstanceUID", "SOPInstanceUID"])

    def look() -> list[dict[str, Any]]:
        told = report(server, read.StudyInstanceUID) or {"series": []}
        found = [instance for series in told["series"] for instance in series["instances"]]
        return [one for one in found if one["SOPInstanceUID"] == read.SOPInstanceUID]

    found: list[dict[str, Any]] = until(look, "the index knows the object")
    return found


def own_view(server: Server, data: bytes) -> list[dict[str, Any]]:
    """`instances`, without what the server says of the stamp: to another than its own it adds evidence."""
    found = instances(server, data)
    for one in found:
        one["evidence"] = [says for says in one["evidence"] if not says["marker"].startswith("stamp.")]
    return found


def new_instances(server: Server) -> int:
    """How often Orthanc has noted that an instance came."""
    with session(server) as http:
        page = http.get(f"{server.url}/changes?limit=100000", timeout=60).json()
    assert page["Done"]
    return sum(change["ChangeType"] == "NewInstance" for change in page["Changes"])


# -- what Orthanc refuses ----------------------------------------------------------------------------------


def without(*keywords: str) -> bytes:
    dataset = image("CT_small.dcm", "refused")
    for keyword in keywords:
        del dataset[keyword]
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


REFUSED: dict[str, Callable[[], bytes]] = {
    "empty": bytes,
    "no DICOM": lambda: b"<html></html>",
    "only a preamble": lambda: without()[:132],
    "cut in the file meta information": lambda: without()[:200],
    "cut in the data set": lambda: without()[:1000],
    "cut in the pixels": lambda: without()[:-3000],
    "bytes behind the pixels": lambda: without() + bytes(7),
    "no SOP Instance UID": lambda: without("SOPInstanceUID"),
    "no Series Instance UID": lambda: without("SeriesInstanceUID"),
    "no Study Instance UID": lambda: without("StudyInstanceUID"),
    "no UIDs at all": lambda: without("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"),
}


@pytest.fixture(params=REFUSED)
def refused(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    path = tmp_path / "refused.dcm"
    path.write_bytes(REFUSED[request.param]())
    return {request.param: path}


def test_what_orthanc_alone_refuses_is_refused_in_the_same_way(refused: Files, servers: Servers) -> None:
    before = archive(servers.plugin)
    answers = post_files(servers.plugin, refused)
    assert answers == post_files(servers.bare, refused)
    assert all(answer.startswith("4") for answer in answers.values())
    assert archive(servers.plugin) == before


@pytest.mark.parametrize("missing", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_a_refused_c_store_gets_the_same_status(missing: str, servers: Servers, tmp_path: Path) -> None:
    path = tmp_path / "refused.dcm"
    path.write_bytes(without(missing))
    answer = store_as_is(servers.plugin, path)
    assert answer == store_as_is(servers.bare, path)
    assert answer not in ("0x0000", "no response")
