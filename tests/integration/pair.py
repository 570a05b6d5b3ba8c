"""The same Orthanc twice, bare and with the plugin, and what a client sees of each in comparable form."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pydicom
import requests
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from launch import Server, running_orthanc

CREATOR = "IMAGE PROVENANCE 1.0"
STATE_METADATA, STATE_LABEL = "9901", "provenance-"
_UID_ROOT = "1.2.826.0.1.3680043.10.1511."
_DEADLINE = 20.0
# What Orthanc makes up by itself, and so differs from one server to the other: UIDs, names, identifiers.
_MADE_UP = re.compile(
    r"1\.2\.(?:276\.0\.7230010\.3\.1|826\.0\.1\.3680043\.2\.1143)\.[0-9.]+"
    r"|\bAnonymized\d+\b"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{8}){4}\b"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)
_TIME = re.compile(r"\b\d{8}T\d{6}(?:\.\d+)?\b")


@dataclass
class Side:
    """One of the two Orthancs, as its administrator sees it."""

    server: Server
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.auth = self.server.admin

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(method, self.server.url + path, timeout=60, **options)

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self._good(self.call("GET", path)).json()

    def bytes(self, path: str) -> bytes:
        return self._good(self.call("GET", path)).content

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON that the server answers to a JSON body."""
        return self._good(self.call("POST", path, json={} if body is None else body)).json()

    def upload(self, files: Iterable[bytes]) -> list[dict[str, Any]]:
        """Stores files by REST, one by one; what Orthanc says to each."""
        return [self._good(self.call("POST", "/instances", data=data)).json() for data in files]

    def find(self, level: str, query: Mapping[str, str]) -> list[str]:
        """Orthanc's identifiers of what matches `query`, sorted."""
        return sorted(self.post("/tools/find", {"Level": level, "Query": dict(query)}))

    def job(self, identifier: str) -> dict[str, Any]:
        """The job, once it has ended."""
        return eventually(
            lambda: self.get(f"/jobs/{identifier}"), lambda job: job["State"] in ("Success", "Failure")
        )

    @staticmethod
    def _good(response: requests.Response) -> requests.Response:
        assert response.ok, (
            f"{response.request.method} {response.url}: {response.status_code} {response.text}"
        )
        return response


@dataclass
class Pair:
    """The two Orthancs."""

    bare: Side
    plugin: Side

    def agree(self, scenario: Callable[[Side], Any]) -> Any:
        """Plays `scenario` on both, fails unless the outcomes are alike, and returns that of the plugin's."""
        return alike(scenario(self.bare), scenario(self.plugin))

    def agree_at_once(self, scenario: Callable[[Side], Any]) -> Any:
        """As `agree`, on both at the same time: for scenarios that mostly wait, each on its own."""
        with ThreadPoolExecutor() as pool:
            return alike(*pool.map(scenario, (self.bare, self.plugin)))


def alike(expected: Any, seen: Any) -> Any:
    """Fails unless two outcomes are the same but for what each server made up; returns the second."""
    kept = _identifiers(expected) & _identifiers(seen)
    found = list(differences(comparable(expected, kept), comparable(seen, kept)))
    assert not found, "with the plugin it is otherwise:\n" + "\n".join(found)
    return seen


@contextmanager
def running_pair(version: str, config: Mapping[str, Any] | None = None) -> Iterator[Pair]:
    """Both Orthancs of one version with the same configuration, laid over the shipped one."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running_orthanc(version, config=config, plugin=plugin))
            for plugin in (False, True)
        ]
        yield Pair(*map(Side, servers))
        with ThreadPoolExecutor() as pool:
            statuses = list(pool.map(Server.stop, servers))
        assert statuses == [0, 0], f"stopped with {statuses}"


def eventually(look: Callable[[], Any], is_good: Callable[[Any], Any] = bool) -> Any:
    """What `look` returns once that `is_good`; fails with the last of it after 20 seconds."""
    end = time.monotonic() + _DEADLINE
    while not is_good(found := look()):
        assert time.monotonic() < end, f"not within {_DEADLINE:.0f} s, last seen: {found}"
        time.sleep(0.05)
    return found


def image(name: str, salt: str, series: int = 1, number: int = 1, **attributes: Any) -> Dataset:
    """An image that pydicom ships, as object `number` of a `series` of the study `salt`; always the same."""
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    dataset.PatientID, dataset.PatientName = f"ID-{salt}", f"NAME^{salt}"
    dataset.AccessionNumber = salt[:16]
    dataset.SeriesNumber, dataset.InstanceNumber = series, number
    dataset.StudyInstanceUID = uid(salt)
    dataset.SeriesInstanceUID = uid(salt, series)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(salt, series, number)
    # Trailing padding does not survive a DICOM association.
    dataset.pop(0xFFFCFFFC, None)
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        # Different pixels, by which copies of the images are told apart.
        mark = hashlib.sha256(dataset.SOPInstanceUID.encode()).digest()[:3]
        dataset.PixelData = mark + dataset.PixelData[3:]
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def study(salt: str, name: str = "CT_small.dcm", **attributes: Any) -> list[Dataset]:
    """A study with two series of two and one images."""
    return [image(name, salt, series, number, **attributes) for series, number in ((1, 1), (1, 2), (2, 1))]


def uid(*words: object) -> str:
    """A UID that depends on `words` alone."""
    return generate_uid(prefix=_UID_ROOT, entropy_srcs=[str(word) for word in words])


def encoded(dataset: Dataset) -> bytes:
    """The dataset as the bytes of a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def decoded(data: bytes) -> Dataset:
    """The object in the bytes of a file."""
    return pydicom.dcmread(io.BytesIO(data))


def is_stamped(dataset: Dataset) -> bool:
    """Whether the private block of a stamp is there."""
    return any(element.value == CREATOR for element in dataset.group_dataset(0x0099))


def unstamped(dataset: Dataset) -> Dataset:
    """The dataset without anything that a stamp adds to an image from a scanner."""
    bare = pydicom.Dataset()
    bare.update({element.tag: element for element in dataset if element.tag.group != 0x0099})
    _drop(bare, 0x00080300, lambda item: item.PrivateGroupReference == 0x0099)
    _drop(bare, 0x0018A001, lambda item: item.get("Manufacturer") == "orthanc-provenance")
    return bare


def _drop(dataset: Dataset, sequence: int, is_ours: Callable[[Dataset], bool]) -> None:
    if sequence in dataset:
        kept = [item for item in dataset[sequence].value if not is_ours(item)]
        if kept:
            dataset[sequence].value = kept
        else:
            del dataset[sequence]


def shown(data: bytes | Dataset) -> dict[str, Any]:
    """An object as comparable JSON: transfer syntax, and all elements but those of a stamp."""
    dataset = decoded(data) if isinstance(data, bytes) else data
    return {"syntax": str(dataset.file_meta.TransferSyntaxUID), **elements(unstamped(dataset))}


def elements(dataset: Dataset) -> dict[str, Any]:
    """All elements of a dataset as comparable JSON, a stamp included."""
    return dataset.to_json_dict(bulk_data_threshold=512, bulk_data_element_handler=_digest)


def _digest(element: pydicom.DataElement) -> str:
    return hashlib.sha256(element.value).hexdigest()


def tree(side: Side, study_id: str) -> dict[str, Any]:
    """Everything that Orthanc says about a study and its patient, series and instances, stamps aside."""
    found = side.get(f"/studies/{study_id}")
    series = [side.get(f"/series/{identifier}") for identifier in found["Series"]]
    instances = [side.get(f"/instances/{identifier}") for one in series for identifier in one["Instances"]]
    objects = {one["ID"]: shown(side.bytes(f"/instances/{one['ID']}/file")) for one in instances}
    # By pixels and lineage, because identifiers and UIDs of copies are made up.
    instances.sort(key=lambda one: _place(objects[one["ID"]], one))
    order = list(dict.fromkeys(one["ParentSeries"] for one in instances))
    series.sort(key=lambda one: order.index(one["ID"]))
    found["Series"] = len(series)
    return {
        "study": _resource(side, "studies", found),
        "patient": side.get(f"/studies/{study_id}/patient")["MainDicomTags"],
        "patient metadata": metadata(side, "patients", found["ParentPatient"]),
        "series": [_resource(side, "series", {**one, "Instances": len(one["Instances"])}) for one in series],
        "instances": [_resource(side, "instances", one) for one in instances],
        "objects": [objects[one["ID"]] for one in instances],
    }


def _place(shown: dict[str, Any], described: dict[str, Any]) -> tuple[str, ...]:
    descriptions = (str(shown.get(tag)) for tag in ("00081030", "0008103E"))
    return str(shown["7FE00010"]), str("ModifiedFrom" in described), *descriptions


def _resource(side: Side, level: str, described: dict[str, Any]) -> dict[str, Any]:
    """The resource with its metadata, without the mirrored state and the place and length of the file."""
    described = {key: value for key, value in described.items() if key not in ("FileSize", "FileUuid")}
    labels = [label for label in described["Labels"] if not label.startswith(STATE_LABEL)]
    return {**described, "Labels": labels, "metadata": metadata(side, level, described["ID"])}


def metadata(side: Side, level: str, identifier: str) -> dict[str, str]:
    """All metadata; the offset of the pixels, which a stamp moves, and the mirrored state by name only."""
    found = side.get(f"/{level}/{identifier}/metadata?expand")
    found.pop(STATE_METADATA, None)
    return found | {key: "moved" for key in ("PixelDataOffset",) if key in found}


def comparable(outcome: Any, kept: frozenset[str] | set[str] = frozenset()) -> Any:
    """The outcome with all that a server makes up numbered in the order of appearance, and without times."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        found = match.group()
        return found if found in kept else numbers.setdefault(found, f"<{len(numbers)}>")

    text = json.dumps(outcome, sort_keys=True, default=str)
    return json.loads(_TIME.sub("<time>", _MADE_UP.sub(number, text)))


def differences(expected: Any, seen: Any, where: str = "") -> Iterator[str]:
    """A line for each place in which two JSON values differ."""
    if isinstance(expected, dict) and isinstance(seen, dict):
        for key in sorted(expected.keys() | seen.keys()):
            yield from differences(expected.get(key, "absent"), seen.get(key, "absent"), f"{where}/{key}")
    elif isinstance(expected, list) and isinstance(seen, list) and len(expected) == len(seen):
        for number, (one, other) in enumerate(zip(expected, seen, strict=True)):
            yield from differences(one, other, f"{where}/{number}")
    elif expected != seen:
        yield f"{where}: {expected!r} became {seen!r}"


def _identifiers(outcome: Any) -> set[str]:
    return set(_MADE_UP.findall(json.dumps(outcome, default=str)))


def report(side: Side, study_uid: str) -> dict[str, Any]:
    """What the plugin's index knows of a study, once it is settled there and nothing more is on its way."""
    eventually(lambda: side.get("/provenance/api/status")["pending_instances"] == 0)
    found = eventually(
        lambda: side.call("GET", f"/provenance/api/studies/{study_uid}"),
        lambda answer: answer.status_code == 200 and answer.json()["settled"],
    )
    return found.json()
