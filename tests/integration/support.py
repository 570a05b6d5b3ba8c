"""What the integration tests share: images to send, ways to send and to ask, and waiting with a deadline."""

from __future__ import annotations

import io
import re
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy
import requests
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian

from launch.server import Server

RESEARCH = "/research/dicom-web"
GENERATOR = "StyleGAN2"
_PREFIX = "1.2.826.0.1.3680043.10."
_SOP, _SERIES, _STUDY = (f"{_PREFIX}1{number:025d}" for number in (1, 2, 3))


@dataclass(frozen=True)
class Image:
    """A DICOM file in memory, with the UIDs by which it is found again."""

    data: bytes
    study: str
    series: str
    sop: str


def new_uid() -> str:
    """A UID that was never used, of the same length each time."""
    return f"{_PREFIX}1{uuid.uuid4().int % 10**25:025d}"


def ct_image(
    side: int = 32, *, study: str = "", series: str = "", sop: str = "", generated: bool = False
) -> Image:
    """A CT image of `side` x `side` pixels of 2 bytes; `generated`: by a known generator, without a label."""
    study = study or new_uid()
    series = series or f"{_PREFIX}2{study[-25:]}"
    sop = sop or new_uid()
    data = _template(side, generated)
    for placeholder, uid in ((_SOP, sop), (_SERIES, series), (_STUDY, study)):
        data = data.replace(placeholder.encode(), uid.encode())
    return Image(data, study, series, sop)


@cache
def _template(side: int, generated: bool) -> bytes:
    image = dcmread(str(get_testdata_file("CT_small.dcm")))
    del image[0xFFFCFFFC]
    pixels = numpy.random.default_rng(side).normal(0, 200, (side, side)).astype("<i2")
    image.Rows, image.Columns, image.PixelData = side, side, pixels.tobytes()
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = _STUDY, _SERIES, _SOP
    image.file_meta.MediaStorageSOPInstanceUID = _SOP
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if generated:
        image.ManufacturerModelName = GENERATOR
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The first true value of `condition`, asked again and again; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return value


def post(server: Server, image: Image) -> requests.Response:
    """Send an image by POST /instances."""
    return requests.post(f"{server.url}/instances", data=image.data, auth=server.admin, timeout=60)


def status(server: Server) -> dict[str, Any]:
    """The plugin's own word about itself."""
    answer = requests.get(f"{server.url}/provenance/api/status", auth=server.admin, timeout=60)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def report(server: Server, study: str) -> dict[str, Any] | None:
    """What administrators are told of a study; None where the index holds none of it."""
    answer = requests.get(f"{server.url}/provenance/api/studies/{study}", auth=server.admin, timeout=60)
    if answer.status_code == 404:
        return None
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def reported(server: Server, image: Image) -> dict[str, Any] | None:
    """What administrators are told of one instance; None while the index does not hold it."""
    for series in (report(server, image.study) or {"series": []})["series"]:
        for instance in series["instances"]:
            if instance["SOPInstanceUID"] == image.sop:
                return dict(instance)
    return None


def research(server: Server, path: str, **parameters: Any) -> requests.Response:
    """Ask the research root as a researcher."""
    url = f"{server.url}{RESEARCH}{path}"
    return requests.get(url, params=parameters, auth=server.researcher, timeout=60)


def visible(server: Server) -> dict[str, set[str]]:
    """The SOP Instance UIDs that research can find, by Study Instance UID."""
    found: dict[str, set[str]] = {}
    for offset in range(0, 1_000_000, 1000):
        answer = research(server, "/instances", limit=1000, offset=offset)
        answer.raise_for_status()
        page = answer.json()
        for item in page:
            found.setdefault(item["0020000D"]["Value"][0], set()).add(item["00080018"]["Value"][0])
        if len(page) < 1000:
            break
    return found


def settled_visible(server: Server) -> list[dict[str, Any]]:
    """What research finds of every instance (at most 1000), once nothing is on its way any more."""
    until(lambda: not status(server)["pending_instances"], "nothing is pending")
    before: list[dict[str, Any]] = []

    def same() -> bool:
        found = research(server, "/instances", limit=1000).json()
        rests = bool(found) and found == before
        before[:] = found
        time.sleep(0.5)
        return rests

    until(same, "research sees all that it will see")
    return before


def sees(server: Server, images: Iterable[Image]) -> bool:
    """Whether research can find all of these images; not while it is closed."""
    if research(server, "/instances", limit=1).status_code == 503:
        return False
    found = visible(server)
    return all(image.sop in found.get(image.study, ()) for image in images)


def archived(server: Server) -> dict[str, set[str]]:
    """The SOP Instance UIDs that Orthanc holds, by Study Instance UID, whatever the plugin thinks of them."""
    asked = {
        "Level": "Instance",
        "Query": {},
        "RequestedTags": ["StudyInstanceUID", "SOPInstanceUID"],
        "Expand": True,
    }
    answer = requests.post(f"{server.url}/tools/find", json=asked, auth=server.admin, timeout=120)
    answer.raise_for_status()
    found: dict[str, set[str]] = {}
    for item in answer.json():
        tags = item["RequestedTags"]
        found.setdefault(tags["StudyInstanceUID"], set()).add(tags["SOPInstanceUID"])
    return found


def parts(answer: requests.Response) -> list[bytes]:
    """The bodies of the parts of a multipart answer."""
    boundary = re.search(r'boundary="?([^";]+)', answer.headers["Content-Type"])
    assert boundary is not None
    pieces = (b"\r\n" + answer.content).split(b"\r\n--" + boundary.group(1).encode())
    assert pieces[-1].startswith(b"--"), "the message has no end"
    return [piece.split(b"\r\n\r\n", 1)[1] for piece in pieces[1:-1]]


def resident_kilobytes(server: Server) -> int:
    """The memory that Orthanc holds: VmRSS of its process."""
    with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
