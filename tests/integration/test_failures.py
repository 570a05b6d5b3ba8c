"""Whatever fails: nothing that was acknowledged is lost, and nothing unassessed is visible to research."""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import dcmread
from pydicom.data import get_testdata_file
from senders import Receipts, post_each, store_each, stow_each
from support import (
    Image,
    archived,
    ct_image,
    new_uid,
    parts,
    post,
    report,
    reported,
    research,
    sees,
    status,
    until,
    visible,
)
from watcher import Watcher, watching

from launch import LaunchError, Request, Server, ServerFactory, configure, start

pytestmark = pytest.mark.orthanc


def study_of(number: int, *, generated_last: bool = False, side: int = 32) -> list[Image]:
    """So many images of one study; the last one may be generated and unlabelled."""
    study = new_uid()
    images = [ct_image(side, study=study) for _ in range(number)]
    if generated_last:
        images[-1] = ct_image(side, study=study, series=new_uid(), generated=True)
    return images


def is_generated(image: Image) -> bool:
    return b"StyleGAN2" in image.data


def tainted(images: Iterable[Image]) -> set[str]:
    """The studies that hold a generated image."""
    return {image.study for image in images if is_generated(image)}


def file_of(server: Server, image: Image) -> bytes:
    """The bytes that the archive holds, through Orthanc's own REST API."""
    url = f"{server.url}/instances/{identifier(server, image)}/file"
    answer = requests.get(url, auth=server.admin, timeout=60)
    answer.raise_for_status()
    return answer.content


def identifier(server: Server, image: Image) -> str:
    """Orthanc's identifier of an image."""
    found = requests.post(f"{server.url}/tools/lookup", data=image.sop, auth=server.admin, timeout=60).json()
    (instance,) = (item["ID"] for item in found if item["Type"] == "Instance")
    return str(instance)


def is_stamped(data: bytes) -> bool:
    return dcmread(io.BytesIO(data)).private_creators(0x0099) == ["IMAGE PROVENANCE 1.0"]


def lines(server: Server, text: str) -> list[str]:
    """The log lines since the latest start that hold `text`."""
    return [line for line in server.log().splitlines() if text in line]


@contextmanager
def running(server_factory: ServerFactory, **options: Any) -> Iterator[Server]:
    """A server that is killed in the end: an orderly stop takes seconds, and proves nothing here."""
    with server_factory(**options) as server:
        yield server
        server.kill()


# -- a crash in the middle of sending ----------------------------------------------------------------------


def send(server: Server, images: Sequence[Image], receipts: Receipts, stop_at: int | None = None) -> None:
    """Send by two POST senders and two associations at once; with `stop_at` kill at that many receipts."""
    with ThreadPoolExecutor(4) as pool:
        senders = [post_each, store_each, post_each, store_each]
        running = [
            pool.submit(sender, server, images[number::4], receipts) for number, sender in enumerate(senders)
        ]
        if stop_at is not None:
            receipts.wait_for(stop_at)
            server.kill()
        for sender in running:
            sender.result()


def check_sights(watcher: Watcher, receipts: Receipts, tainted_in_archive: Iterable[str] = ()) -> None:
    """Nothing generated was ever shown, and no study of it once the generated image had been acknowledged.

    `tainted_in_archive` are studies that held a generated image before the watcher began to look.
    """
    from_when = {image.study: at for image, at in receipts.images().items() if is_generated(image)}
    from_when.update(dict.fromkeys(tainted_in_archive, 0.0))
    generated = {image.sop for image in watcher.images if is_generated(image)}
    for sight in watcher.sights:
        for study, sops in sight.seen.items():
            assert not sops & generated, f"a generated image was {sight.kind}"
            assert sight.since < from_when.get(study, float("inf")), f"a study of one was {sight.kind}"


@pytest.mark.slow
def test_a_crash_while_sending_loses_nothing_and_shows_nothing_unassessed(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    chance = random.Random()
    everything: list[Image] = []
    receipts = Receipts()
    with running(server_factory, data=tmp_path / "data") as server:
        settled(server)
        for turn in range(3):
            fresh = [image for kind in range(6) for image in study_of(6, generated_last=kind % 3 == 0)]
            # Generated images come late: into studies that were just sent, and into one long since visible.
            late = [image for image in fresh if is_generated(image)]
            clean = sorted({image.study for image in everything} - tainted(everything))
            late += [ct_image(study=study, generated=True) for study in clean[:1]]
            early = [image for image in fresh if not is_generated(image)]
            chance.shuffle(early)
            stop_at = chance.randrange(5, len(early) + len(late) - 4)
            print(f"turn {turn}: killing after {stop_at} of {len(early) + len(late)} acknowledgements")
            everything += fresh + [image for image in late if image not in fresh]
            before = Receipts()
            with watching(server, everything, archive_rests=False) as watcher:
                send(server, early + late, before, stop_at)
            check_sights(watcher, before, tainted(receipts.images()))
            receipts.add(*before.images())
            assert watcher.sights, "research showed nothing before the crash either"

            with watching(server, everything, archive_rests=True) as watcher:
                server.start()
                held = {sop for sops in archived(server).values() for sop in sops}
                stored = [image for image in everything if image.sop in held]
                whole = [image for image in stored if image.study not in tainted(stored)]
                until(lambda whole=whole: sees(server, whole), "what was stored is visible")
                settled(server)
            lost = {image.sop for image in receipts.images()} - held
            assert not lost, f"{len(lost)} acknowledged images were lost"
            check_sights(watcher, Receipts(), tainted(stored))
            assert watcher.sights
            assert not watcher.unreleased

        send(server, everything, Receipts())
        settled(server)
        until(
            lambda: {study: len(sops) for study, sops in visible(server).items()} == count_clean(everything),
            "everything clean is visible",
        )


def count_clean(images: Sequence[Image]) -> dict[str, int]:
    """How many images each study without a generated one has."""
    counted: dict[str, int] = {}
    for image in images:
        counted[image.study] = counted.get(image.study, 0) + 1
    return {study: number for study, number in counted.items() if study not in tainted(images)}


def settled(server: Server) -> None:
    """Wait until research is open and nothing is on its way into the index."""
    until(
        lambda: not (told := status(server))["research_closed_because"] and not told["pending_instances"],
        "the index is up to date",
    )


@pytest.mark.parametrize("replaces", [False, True], ids=["a new image", "the same image replaced"])
def test_a_crash_right_after_a_generated_image_came_shows_nothing_of_its_study(
    server_factory: ServerFactory, replaces: bool
) -> None:
    studies = [study_of(2) for _ in range(3)]
    with running(server_factory, config={"OverwriteInstances": replaces}) as server:
        for images in studies:
            post_each(server, images, Receipts())
        until(lambda: sees(server, [image for images in studies for image in images]), "all is visible")
        for images in studies:
            replaced = images[0].sop if replaces else ""
            generated = ct_image(study=images[0].study, sop=replaced, generated=True)
            assert post(server, generated).status_code == 200
            server.kill()
            with watching(server, images, archive_rests=True) as watcher:
                server.start()
                until(lambda image=generated: state(server, image) == "ai-generated", "it is assessed")
                settled(server)
            assert not [sight for sight in watcher.sights if images[0].study in sight.seen]
            assert not watcher.unreleased
        assert visible(server) == {}


def state(server: Server, image: Image) -> str:
    """The state that the index holds of an image, "" for none."""
    told = reported(server, image)
    return str(told["state"]) if told else ""


# -- mistakes of the plugin itself -------------------------------------------------------------------------

RAISING_RULE = """
import orthanc
import orthanc_provenance
from orthanc_provenance import assessment

def mistaken(facts):
    if facts.header.text(0x00080060) == "CT":
        raise ZeroDivisionError("a rule with a mistake")
    return False

rule = assessment.Rule(assessment.Origin.AI_GENERATED, mistaken)
assessment.PRECEDENCE = (rule, *assessment.PRECEDENCE)
orthanc_provenance.register(orthanc)
"""


def test_an_instance_for_which_a_rule_raises_is_kept_as_it_came_and_out_of_research(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    script = tmp_path / "site_script.py"
    script.write_text(RAISING_RULE)
    posted, stored, sent = (ct_image() for _ in range(3))
    with running(server_factory, script=script) as server:
        answer = post(server, posted)
        assert answer.status_code == 200
        assert answer.json()["Status"] == "Success"
        receipts = Receipts()
        stow_each(server, [sent], receipts)
        store_each(server, [stored], receipts)
        assert len(receipts.images()) == 2

        for image in (posted, sent, stored):
            told = until(lambda image=image: reported(server, image), "the instance is in the index")
            assert told["state"] == "undetermined"
            assert "ZeroDivisionError" in told["reason"]
            assert not told["stamped"]
            assert not is_stamped(file_of(server, image))
        assert file_of(server, posted) == posted.data
        assert file_of(server, sent) == sent.data
        assert dcmread(io.BytesIO(file_of(server, stored))) == dcmread(io.BytesIO(stored.data))

        # A modality that the rule does not stumble over is none the worse.
        magnetic = Path(str(get_testdata_file("MR_small.dcm"))).read_bytes()
        answer = requests.post(f"{server.url}/instances", data=magnetic, auth=server.admin, timeout=60)
        assert answer.json()["Status"] == "Success"
        settled(server)
        until(lambda: len(visible(server)) == 1, "the other modality is visible")
        assert set(visible(server)) == {str(dcmread(io.BytesIO(magnetic)).StudyInstanceUID)}
        assert research(server, f"/studies/{posted.study}").status_code == 404
        assert len(lines(server, "could not be assessed; it is stored as it came, out of research")) == 3
        assert len(lines(server, "could not be assessed and stays out of research: ZeroDivisionError")) == 3


# -- an index that cannot be written -----------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of its own with so much room, for the time of the block."""
    folder.mkdir()
    options = f"size={kilobytes}k,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        # Lazily: Orthanc, in a mount namespace of its own, may be ending still.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write a file until no room is left."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


def checked_closed(server: Server) -> str:
    """The reason for which research is closed; it must answer 503 then, without telling the reason."""
    told: str = status(server)["research_closed_because"]
    if told:
        answer = research(server, "/studies")
        if answer.status_code == 200:
            assert not status(server)["research_closed_because"]
            return ""
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("research is closed")
        assert "provenance.db" not in answer.text
    return told


@pytest.mark.slow
def test_a_full_disk_stops_research_but_no_storing_and_is_recovered_from(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk", 8192))
        url = f"sqlite:///{disk / 'provenance.db'}"
        server = stack.enter_context(running(server_factory, config={"Provenance": {"DatabaseUrl": url}}))
        first = study_of(5)
        send(server, first, Receipts())
        until(lambda: sees(server, first), "research works")

        fill(disk / "filler")
        images = [image for kind in range(60) for image in study_of(5, generated_last=kind % 10 == 0)]
        send_all(server, images)
        assert "full" in until(lambda: checked_closed(server), "research is closed")
        for image in images[:5]:
            data = file_of(server, image)
            assert data == image.data or is_stamped(data)
        more = study_of(3)
        send_all(server, more)
        # For longer than it takes to try again: it stays closed, and the log says so once.
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert "full" in checked_closed(server)
            time.sleep(0.1)
        told = lines(server, "cannot be used")
        assert len(told) == 1, "\n".join(told)
        assert "storing goes on, research is closed; free disk space" in told[0]

        (disk / "filler").unlink()
        everything = first + images + more
        until(lambda: visible_counts(server) == count_clean(everything), "all is visible", 60)
        assert len(lines(server, "cannot be used")) == 1
        for study in tainted(everything):
            told_of = report(server, study)
            assert told_of is not None
            assert sum(len(series["instances"]) for series in told_of["series"]) == 5


def visible_counts(server: Server) -> dict[str, int] | None:
    """How many images of each study research can find; None while it is closed."""
    if research(server, "/instances", limit=1).status_code == 503:
        return None
    return {study: len(sops) for study, sops in visible(server).items()}


def garble(path: Path, start: float, end: float) -> None:
    """Overwrite a part of a file, given in shares of its length, with noise."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * start))
        file.write(os.urandom(int(size * (end - start))))


@pytest.mark.slow
def test_a_corrupt_index_stops_research_but_no_storing_and_is_rebuilt(server_factory: ServerFactory) -> None:
    images = [image for kind in range(20) for image in study_of(5, generated_last=kind % 5 == 0)]
    generated = {image.sop for image in images if is_generated(image)}
    late = study_of(5)
    with running(server_factory) as server:
        index = server.data / "provenance.db"
        send(server, images, Receipts())
        until(lambda: visible_counts(server) == count_clean(images), "all is visible")
        # While it runs: whatever the index answers now, nothing of a generated image's study comes out.
        garble(index, 0.3, 0.9)
        with watching(server, images, archive_rests=False) as watcher:
            send_all(server, late[:2])
            time.sleep(1)
        for sight in watcher.sights:
            assert not any(sops & generated for sops in sight.seen.values())
            assert not tainted(images) & set(sight.seen)

        # An orderly end moves what the write-ahead log could mend into the file.
        server.stop()
        garble(index, 0.3, 0.9)
        server.start()
        check_corrupt(server, late[2:4])
        server.kill()
        move_index_away(server)
        everything = images + late
        with watching(server, everything, archive_rests=True) as watcher:
            server.start()
            send_all(server, late[4:])
            until(lambda: visible_counts(server) == count_clean(everything), "all is visible again")
        assert not watcher.unreleased
        check_sights(watcher, Receipts(), tainted(everything))

        server.stop()
        garble(index, 0.0, 0.2)
        server.start()
        check_corrupt(server, study_of(2))


def send_all(server: Server, images: Sequence[Image]) -> None:
    """Send, and see that every one was acknowledged."""
    receipts = Receipts()
    send(server, images, receipts)
    assert set(receipts.images()) == set(images)


def check_corrupt(server: Server, more: Sequence[Image]) -> None:
    """Research is closed and stays so, storing works, and one line of the log tells the way out."""
    until(lambda: checked_closed(server), "research is closed")
    send_all(server, more)
    # For longer than it takes to try again.
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert "malformed" in checked_closed(server) or "not a database" in checked_closed(server)
        time.sleep(0.2)
    told = lines(server, "cannot be used")
    assert len(told) == 1, "\n".join(told)
    assert str(server.data / "provenance.db") in told[0]
    assert "storing goes on, research is closed" in told[0]
    assert "may be moved away while Orthanc is stopped, it is rebuilt from the archive" in told[0]


def move_index_away(server: Server) -> None:
    for file in server.data.glob("provenance.db*"):
        file.rename(server.data / f"moved-{file.name}")


# -- times without the plugin ------------------------------------------------------------------------------


def test_an_archive_from_before_the_plugin_is_assessed_and_leaves_with_a_stamp(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    images = [image for kind in range(6) for image in study_of(6, generated_last=kind % 3 == 0)]
    with running(server_factory, data=tmp_path / "data", plugin=False) as server:
        send(server, images, Receipts())
        originals = {image.sop: file_of(server, image) for image in images}
    with running(server_factory, data=tmp_path / "data") as server:
        with watching(server, images, archive_rests=True) as watcher:
            until(lambda: visible_counts(server) == count_clean(images), "the archive is assessed")
        assert not watcher.unreleased
        check_sights(watcher, Receipts(), tainted(images))

        clean = next(image for image in images if image.study in count_clean(images))
        answer = research(server, f"/studies/{clean.study}")
        released = [(dcmread(io.BytesIO(data)).SOPInstanceUID, data) for data in parts(answer)]
        assert len(released) == 6
        for sop, data in released:
            assert is_stamped(data)
            assert dcmread(io.BytesIO(data)).PixelData == dcmread(io.BytesIO(originals[sop])).PixelData
        for image in images:
            assert file_of(server, image) == originals[image.sop]
        for study in tainted(images):
            assert research(server, f"/studies/{study}").status_code == 404


def test_an_instance_whose_file_cannot_be_read_is_withheld_and_never_left_out_silently(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    study = new_uid()
    images = [ct_image(256, study=study, series=series) for series in (new_uid(), new_uid()) for _ in "123"]
    with running(server_factory, data=tmp_path / "data", plugin=False) as server:
        send(server, images, Receipts())
        stored_file(server, images[0]).unlink()
        soon_lost = stored_file(server, images[-1])
    with running(server_factory, data=tmp_path / "data") as server:
        until(lambda: sees(server, images[3:]), "what can be read is visible")
        assert visible_counts(server) == {study: 3}
        told = until(lambda: reported(server, images[0]), "the instance is in the index")
        assert told["state"] == "undetermined"
        assert "cannot read the file" in told["reason"]
        settled(server)
        time.sleep(1)
        assert len(lines(server, "could not be assessed")) == 1

        # What was released already may be lost later: an answer without it would pass for the whole series.
        soon_lost.unlink()
        server.kill()
        server.start()
        until(lambda: sees(server, images[3:]), "the index knows it still")
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.HTTPError)):
            research(server, f"/studies/{study}").raise_for_status()
        assert research(server, f"/studies/{study}/metadata").status_code == 500


def stored_file(server: Server, image: Image) -> Path:
    """Where the archive keeps an image on disk."""
    url = f"{server.url}/instances/{identifier(server, image)}/attachments/dicom/info"
    uuid = requests.get(url, auth=server.admin, timeout=60).json()["Uuid"]
    return server.data / uuid[:2] / uuid[2:4] / uuid


def test_what_changes_without_the_plugin_is_found_at_the_next_start(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    deleted, thinned, grown, spoilt, replaced = (study_of(3) for _ in range(5))
    before = [*deleted, *thinned, *grown, *spoilt, *replaced]
    fresh = study_of(3)
    more = [ct_image(study=grown[0].study) for _ in range(2)]
    spoiler = ct_image(study=spoilt[0].study, generated=True)
    substitute = ct_image(study=replaced[0].study, sop=replaced[0].sop, generated=True)
    with running(server_factory, data=tmp_path / "data") as server:
        send(server, before, Receipts())
        until(lambda: sees(server, before), "all is visible")
    with running(server_factory, data=tmp_path / "data", plugin=False) as server:
        for image in (*deleted, thinned[0], replaced[0]):
            delete(server, image)
        send(server, [*fresh, *more, spoiler, substitute], Receipts())
    left = [*thinned[1:], *grown, *more, *fresh]
    with running(server_factory, data=tmp_path / "data") as server:
        looking_at = [*left, *spoilt, *replaced[1:], spoiler, substitute]
        with watching(server, looking_at, archive_rests=True) as watcher:
            until(lambda: visible_counts(server) == count_clean(left), "the index is true to the archive")
            settled(server)
        assert visible_counts(server) == count_clean(left)
        assert not watcher.unreleased
        check_sights(watcher, Receipts(), tainted(looking_at))
        gone = {image.sop for image in (*deleted, thinned[0])}
        assert not any(sops & gone for sight in watcher.sights for sops in sight.seen.values())
        told = reported(server, substitute)
        assert told is not None
        assert told["state"] == "ai-generated"
        for image in (*deleted, thinned[0]):
            assert reported(server, image) is None


def delete(server: Server, image: Image) -> None:
    """Delete one instance by Orthanc's REST API."""
    url = f"{server.url}/instances/{identifier(server, image)}"
    requests.delete(url, auth=server.admin, timeout=60).raise_for_status()


# -- configurations that it does not start with ------------------------------------------------------------


def test_without_threads_in_the_python_plugin_orthanc_refuses_to_start(
    orthanc_version: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        request = Request(http_port=0, dicom_port=0, research_dicom_port=0, data=tmp_path / "data")
        server = start.prepared(stack, request, orthanc_version, {})
        stack.callback(server.stop)
        file = server.data / configure.MERGED_NAME
        merged: dict[str, Any] = json.loads(file.read_text())
        for section in ({"AllowThreads": False}, {}):
            file.write_text(json.dumps(merged | {"Python": section}))
            with pytest.raises(LaunchError, match='"AllowThreads": true'):
                server.start()
            assert lines(server, 'set "Python": {"AllowThreads": true}: without it')


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"Stmp": "All"}, 'unknown key "Provenance.Stmp"; did you mean "Stamp"?'),
        ({"Stamp": "Everything"}, '"Provenance.Stamp" must be one of'),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_by_name(
    server_factory: ServerFactory, tmp_path: Path, section: dict[str, Any], says: str
) -> None:
    with (
        pytest.raises(LaunchError, match=re.escape(says)),
        running(server_factory, data=tmp_path / "data", config={"Provenance": section}),
    ):
        raise AssertionError("Orthanc started")
    assert says in (tmp_path / "data" / "orthanc.log").read_text()


def test_without_authentication_research_stays_closed_and_the_log_names_the_hole(
    server_factory: ServerFactory,
) -> None:
    image = ct_image()
    with running(server_factory, config={"AuthenticationEnabled": False}) as server:
        assert post(server, image).json()["Status"] == "Success"
        (told,) = lines(server, "authentication-disabled")
        assert "research stays closed" in told
        assert 'set "AuthenticationEnabled": true' in told
        for user in (server.researcher, server.admin, None):
            for path in ("/studies", "/instances", f"/studies/{image.study}"):
                url = f"{server.url}/research/dicom-web{path}"
                assert requests.get(url, auth=user, timeout=60).status_code in (401, 403, 503)
