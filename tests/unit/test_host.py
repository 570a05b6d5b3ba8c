"""The plugin as a whole, on the fake host: what is stored, written, kept and closed."""

from __future__ import annotations

import base64
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dicom_samples import encode, image

import orthanc_provenance
from orthanc_provenance.dicom.digest import pixel_digest
from orthanc_provenance.dicom.header import read_header
from orthanc_provenance.errors import ConfigurationError
from orthanc_provenance.host import callbacks
from orthanc_provenance.host.fake import FakeOrthanc, InstanceOrigin
from orthanc_provenance.index import mirror
from orthanc_provenance.index.pending import Pending
from orthanc_provenance.index.record import Record
from orthanc_provenance.intake import LARGE
from orthanc_provenance.stamp.keys import FILE_NAME

CT = {
    "Modality": "CT",
    "KVP": "120",
    "XRayTubeCurrent": "200",
    "ConvolutionKernel": "H31s",
    "ExposureTime": "500",
}
GENERATED = {"Modality": "CT", "Manufacturer": "Research", "ManufacturerModelName": "StyleGAN2"}


def object_(number: int, study: int = 1, **values: Any) -> bytes:
    uids = {
        "SOPInstanceUID": f"1.2.{study}.1.{number}",
        "SeriesInstanceUID": f"1.2.{study}.1",
        "StudyInstanceUID": f"1.2.{study}",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    }
    return encode(image(**{**uids, **values}))


def settings(folder: Path, **section: Any) -> dict[str, Any]:
    return {
        "StorageDirectory": str(folder),
        "AuthenticationEnabled": True,
        "Python": {"AllowThreads": True},
        "Provenance": section,
    }


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeOrthanc]:
    made = FakeOrthanc(settings(tmp_path))
    orthanc_provenance.register(made)
    made.start()
    yield made
    made.stop()


def states(folder: Path) -> dict[str, tuple[str, str, bool]]:
    """State, reason and stamp of each instance in the index, by SOP Instance UID."""
    with closing(sqlite3.connect(folder / "provenance.db")) as database:
        found = database.execute("SELECT SOPInstanceUID, state, reason, stamped FROM instances")
        return {uid: (state, reason, bool(stamped)) for uid, state, reason, stamped in found}


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_an_instance_is_stored_stamped_and_written_to_the_index(host: FakeOrthanc, tmp_path: Path) -> None:
    instance = host.store(object_(1, **CT))

    assert b"STATE:original" in host.files[instance]
    assert eventually(lambda: states(tmp_path) == {"1.2.1.1.1": ("original", "", True)})


def test_an_exception_in_a_rule_leaves_the_instance_as_received_and_undetermined(
    host: FakeOrthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("orthanc_provenance.intake.assess", fail)
    data = object_(1, **CT)
    instance = host.store(data)

    assert host.files[instance] == data
    assert eventually(lambda: bool(states(tmp_path)))
    state, reason, stamped = states(tmp_path)["1.2.1.1.1"]
    assert (state, stamped) == ("undetermined", False)
    assert "ZeroDivisionError" in reason
    assert "callback raised" not in host.log


def test_what_a_job_of_the_host_makes_is_kept_and_inherits(host: FakeOrthanc, tmp_path: Path) -> None:
    source = host.store(object_(1, study=1, **GENERATED))
    copy = object_(1, study=2, Modality="CT")

    instance = host.store(copy, InstanceOrigin.REST_API, AnonymizedFrom=source)

    assert host.files[instance] == copy
    assert eventually(lambda: states(tmp_path).get("1.2.2.1.1") == ("ai-generated", "", False))


def test_what_a_script_of_the_host_makes_is_kept(host: FakeOrthanc) -> None:
    data = object_(1, **CT)

    assert host.files[host.store(data, InstanceOrigin.LUA)] == data


def test_a_large_object_is_kept_and_its_pixels_are_digested_once_it_is_stored(
    host: FakeOrthanc, tmp_path: Path
) -> None:
    data = object_(1, **CT, PixelData=bytes(LARGE))

    instance = host.store(data)

    assert host.files[instance] is data
    assert eventually(lambda: states(tmp_path) == {"1.2.1.1.1": ("original", "", False)})
    with closing(sqlite3.connect(tmp_path / "provenance.db")) as database:
        (digest,) = database.execute("SELECT pixel_digest FROM instances").fetchone()
    assert digest == pixel_digest(read_header(data))


def test_a_large_object_closes_its_study_until_it_is_in_the_index(
    host: FakeOrthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_study: list[bool] = []
    announce = Pending.announce

    def noted(self: Pending, record: Record, *, thread: int | None, closes_study: bool) -> None:
        closing_study.append(closes_study)
        announce(self, record, thread=thread, closes_study=closes_study)

    monkeypatch.setattr(Pending, "announce", noted)
    host.store(object_(1, **CT, PixelData=bytes(LARGE)))

    assert closing_study == [True]


def test_what_http_clients_send_is_stamped(host: FakeOrthanc) -> None:
    assert host.allows("/instances")

    assert b"STATE:original" in host.files[host.store(object_(1, **CT), InstanceOrigin.REST_API)]


def test_a_deleted_instance_leaves_the_index(host: FakeOrthanc, tmp_path: Path) -> None:
    instance = host.store(object_(1, **CT))
    assert eventually(lambda: bool(states(tmp_path)))

    host.delete(instance)

    assert eventually(lambda: not states(tmp_path))


def test_the_state_is_mirrored_once_the_study_is_quiet(
    host: FakeOrthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_QUIET_SECONDS", 0.2)
    instance = host.store(object_(1, **CT))
    study = host._ids(instance).study

    assert eventually(lambda: host.labels("studies", study) == {"provenance-original"})
    assert eventually(lambda: host._metadata.get(instance, {}).get("9901") == "original")
    # The last thing that is written of a study, after its labels.
    assert eventually(lambda: '"research": ["release"]' in host._metadata.get(study, {}).get("9901", ""))


def test_a_filter_that_fails_refuses(host: FakeOrthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_headers: object) -> str:
        raise KeyError

    monkeypatch.setattr(callbacks, "basic_user", fail)

    assert not host.allows("/instances")


def test_research_users_pass_the_filter_to_their_root_only(host: FakeOrthanc) -> None:
    login = "Basic " + base64.b64encode(b"researcher:secret").decode()

    assert host.allows("/research/dicom-web/studies", authorization=login)
    assert not host.allows("/instances", authorization=login)


@pytest.mark.parametrize("keeps_key", [True, False])
def test_an_index_that_was_lost_is_rebuilt_from_the_archive(tmp_path: Path, keeps_key: bool) -> None:
    first = FakeOrthanc(settings(tmp_path / "first"))
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    orthanc_provenance.register(first)
    first.start()
    first.store(object_(1, **CT))
    first.stop()
    if keeps_key:
        shutil.copy2(tmp_path / "first" / FILE_NAME, tmp_path / "second" / FILE_NAME)
    second = FakeOrthanc(settings(tmp_path / "second"))
    second.files.update(first.files)
    second._metadata.update(first._metadata)
    orthanc_provenance.register(second)
    second.start()

    try:
        # Without its key it is another gateway, whose own stamp comes on the way out.
        rebuilt = {"1.2.1.1.1": ("original", "", keeps_key)}
        assert eventually(lambda: states(tmp_path / "second") == rebuilt)
    finally:
        second.stop()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"Python": {}}, "AllowThreads"),
        ({"Provenance": {"Stmp": "All"}}, "Provenance.Stmp"),
    ],
)
def test_the_plugin_refuses_to_start_where_it_cannot_work(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        orthanc_provenance.register(FakeOrthanc({**settings(tmp_path), **change}))


def test_a_plugin_that_is_not_enabled_does_nothing(tmp_path: Path) -> None:
    host = FakeOrthanc(settings(tmp_path, Enable=False))

    orthanc_provenance.register(host)

    assert host._callbacks == {}
