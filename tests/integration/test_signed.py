"""Signed stamps on a real Orthanc: anybody can verify them, other gateways believe them, and keys change."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import Dataset, dcmread
from support import Image, ct_image, new_uid, parts, post, reported, research, sees, status, until

from launch import LaunchError, Server, ServerFactory
from orthanc_provenance.cli import main

pytestmark = pytest.mark.orthanc
KEY = "provenance-signing-key.pem"
EQUIPMENT = ("ImageType", "Manufacturer", "ManufacturerModelName", "StationName")


def command(*arguments: str) -> tuple[int, str]:
    """Run `orthanc-provenance`; its exit status, and what it printed."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        return main(list(arguments)), shown.getvalue()


def keys_address(server: Server, user: tuple[str, str]) -> str:
    return f"{server.scheme}://{user[0]}:{user[1]}@{server.host}:{server.http_port}/provenance/api/keys"


def published(server: Server) -> list[dict[str, str]]:
    answer = requests.get(f"{server.url}/provenance/api/keys", auth=server.researcher, timeout=60)
    answer.raise_for_status()
    found: list[dict[str, str]] = answer.json()["keys"]
    return found


def stored(server: Server, image: Image) -> bytes:
    """The file of an image, once the gateway has noted it."""
    answer = post(server, image)
    answer.raise_for_status()
    until(lambda: reported(server, image), "the image is noted")
    found = requests.get(f"{server.url}/instances/{answer.json()['ID']}/file", auth=server.admin, timeout=60)
    found.raise_for_status()
    return found.content


def verified(data: bytes, folder: Path, *keys: str) -> dict[str, Any]:
    """What `verify` says of one file with these keys; its exit status is `status`."""
    file = folder / "object.dcm"
    file.write_bytes(data)
    arguments = [argument for key in keys for argument in ("--keys", key)]
    ended, shown = command("verify", str(file), "--format", "jsonl", *arguments)
    return {**json.loads(shown), "status": ended}


def stripped(data: bytes) -> Image:
    """A stamped file under other UIDs, of whose origin nothing but its stamp tells any more."""
    dataset = dcmread(io.BytesIO(data))
    for element in list(dataset):
        if element.tag.group == 0x0018 or element.keyword in EQUIPMENT:
            del dataset[element.tag]
    return renamed(dataset)


def renamed(dataset: Dataset) -> Image:
    """A file under other UIDs."""
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
        new_uid() for _ in range(3)
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return Image(
        buffer.getvalue(), dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    )


@pytest.fixture(scope="module")
def second(server_factory: ServerFactory, shared_server: Server) -> Iterator[Server]:
    """A gateway that trusts the keys of the shared one, and one source that is not there."""
    sources = [keys_address(shared_server, shared_server.researcher), "/nowhere/keys.pem"]
    with server_factory(config={"Provenance": {"TrustedKeys": sources}}) as server:
        yield server
        assert server.stop() == 0


def test_what_a_gateway_stores_is_valid_against_its_published_keys(
    shared_server: Server, tmp_path: Path
) -> None:
    data = stored(shared_server, ct_image())

    found = verified(data, tmp_path, keys_address(shared_server, shared_server.researcher))

    assert (found["standing"], found["state"], found["status"]) == ("valid", "original", 0)
    assert found["key"] == published(shared_server)[0]["id"]
    altered = data[:-1] + bytes([data[-1] ^ 1])
    assert verified(altered, tmp_path, keys_address(shared_server, shared_server.admin))["altered"] == [
        "pixels"
    ]
    assert verified(data, tmp_path)["standing"] == "untrusted"


def test_what_a_researcher_downloads_is_valid(shared_server: Server, tmp_path: Path) -> None:
    image = ct_image()
    post(shared_server, image).raise_for_status()
    until(lambda: sees(shared_server, [image]), "the image is released")

    answer = research(shared_server, f"/studies/{image.study}")

    (data,) = parts(answer)
    found = verified(data, tmp_path, keys_address(shared_server, shared_server.researcher))
    assert (found["standing"], found["status"]) == ("valid", 0)


def test_the_same_object_is_stored_as_the_same_bytes(shared_server: Server) -> None:
    image = ct_image()
    first = stored(shared_server, image)
    identifier = requests.post(
        f"{shared_server.url}/tools/lookup", data=image.sop, auth=shared_server.admin, timeout=60
    ).json()[0]["ID"]
    requests.delete(
        f"{shared_server.url}/instances/{identifier}", auth=shared_server.admin, timeout=60
    ).raise_for_status()

    assert stored(shared_server, image) == first


def test_the_private_key_is_for_orthanc_alone(shared_server: Server) -> None:
    assert (shared_server.data / KEY).stat().st_mode & 0o7777 == 0o600
    answer = requests.get(f"{shared_server.url}/provenance/api/keys", auth=shared_server.admin, timeout=60)
    assert "PRIVATE" not in answer.text
    secret = (shared_server.data / KEY).read_text().splitlines()[1]
    assert secret not in shared_server.log()


def test_orthanc_itself_lets_nobody_in_who_says_not_who_he_is(shared_server: Server) -> None:
    assert requests.get(f"{shared_server.url}/provenance/api/keys", timeout=60).status_code == 401


def test_another_gateway_believes_the_first_and_nobody_else(
    shared_server: Server, second: Server, tmp_path: Path
) -> None:
    until(lambda: status(second)["trusted_keys"], "the keys of the first gateway are fetched")
    assert ["/nowhere/keys.pem" in problem for problem in status(second)["key_problems"]] == [True]
    image = stripped(stored(shared_server, ct_image()))

    data = stored(second, image)

    found = reported(second, image)
    assert found is not None
    assert found["state"] == "original"
    assert "stamp.trusted" in [evidence["marker"] for evidence in found["evidence"]]
    assert verified(data, tmp_path, keys_address(shared_server, shared_server.admin))["standing"] == "valid"
    # The other way round nothing was agreed.
    back = ct_image()
    image = stripped(stored(second, back))
    stored(shared_server, image)
    found = reported(shared_server, image)
    assert found is not None
    assert found["state"] == "undetermined"
    assert "stamp.claimed" in [evidence["marker"] for evidence in found["evidence"]]


def test_what_a_gateway_gives_out_is_valid_against_its_own_keys_whoever_stamped_it_before(
    shared_server: Server, second: Server, tmp_path: Path
) -> None:
    own, other = (keys_address(server, server.admin) for server in (shared_server, second))
    # Both say the same of it, and the shared gateway trusts nobody else.
    image = renamed(dcmread(io.BytesIO(stored(second, ct_image()))))
    assert verified(image.data, tmp_path, own)["standing"] == "untrusted"

    data = stored(shared_server, image)

    found = verified(data, tmp_path, own)
    assert (found["standing"], found["state"], found["stamps"]) == ("valid", "original", 2)
    assert verified(data, tmp_path, other)["standing"] == "untrusted"
    until(lambda: sees(shared_server, [image]), "the image is released")


def test_a_stamp_that_was_moved_to_other_pixels_is_a_conflict_and_not_released(second: Server) -> None:
    image = stripped(stored(second, ct_image()))
    moved = replace(image, data=image.data[:-2] + bytes([image.data[-2] ^ 1]) + image.data[-1:])

    stored(second, moved)

    found = reported(second, moved)
    assert found is not None
    assert (found["state"], "conflict" in found["modifiers"]) == ("undetermined", True)
    assert not sees(second, [moved])


def test_after_a_rotation_old_stamps_stay_valid_and_new_ones_have_the_new_key(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    with server_factory() as server:
        before = stored(server, ct_image())
        old = published(server)[0]["id"]
        assert server.stop() == 0
        assert command("keys", "rotate", str(server.data / KEY))[0] == 0
        server.start()
        after = stored(server, ct_image())

        keys = keys_address(server, server.researcher)
        assert [verified(data, tmp_path, keys)["standing"] for data in (before, after)] == ["valid", "valid"]
        assert [key["state"] for key in published(server)] == ["current", "retired"]
        assert verified(before, tmp_path, keys)["key"] == old
        assert verified(after, tmp_path, keys)["key"] == published(server)[0]["id"] != old
        assert server.stop() == 0


def test_a_configured_key_that_will_not_do_stops_the_start_and_says_why(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    assert command("keys", "make", str(key))[0] == 0
    key.chmod(0o644)

    with (
        pytest.raises(LaunchError, match=r"Provenance\.SigningKey.*mode 0644"),
        server_factory(config={"Provenance": {"SigningKey": str(key)}}),
    ):
        pass
