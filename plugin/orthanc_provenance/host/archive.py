"""Orthanc as the archive that the index needs, through the SDK's built-in REST API.

Only called from threads of our own: in the received-instance callback, whose lock it needs, it would hang.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import ArchiveUnavailable, NotStored, Unreadable
from ..index.archive import Changes, Description
from ..index.record import INSTANCE_ATTRIBUTES, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, Identifiers

_KEYWORDS = {**STUDY_ATTRIBUTES, **SERIES_ATTRIBUTES, **INSTANCE_ATTRIBUTES}
_INSTANCE_STORED = "NewInstance"


class OrthancArchive:
    """Implements `index.archive.Archive` with the `orthanc` module.

    `checks_revisions` is Orthanc's setting `CheckRevisions`: whoever replaces metadata must then name its
    revision in an HTTP header, which the SDK cannot.
    """

    def __init__(self, orthanc: Any, *, checks_revisions: bool = False) -> None:
        self._orthanc = orthanc
        self._checks_revisions = checks_revisions

    def read(self, instance: str) -> bytes:
        """The stored bytes of an instance. Raises Unreadable where Orthanc knows it and fails to read it."""
        try:
            # The SDK's own call makes one copy less than the REST API.
            found: bytes = self._call(instance, self._orthanc.GetDicomForInstance)
            return found
        except NotStored as problem:
            if self.holds(instance):
                text = f"Orthanc cannot read the file of instance {instance}; see what its log says about it"
                raise Unreadable(text) from problem
            raise

    def describe(self, instance: str) -> Description:
        """Identifiers, tags by keyword, and metadata of an instance, of which the file is not read."""
        found = self._json(f"/instances/{instance}")
        series = self._json(f"/series/{found['ParentSeries']}")
        study = self._json(f"/studies/{series['ParentStudy']}")
        metadata = self._json(f"/instances/{instance}/metadata?expand")
        tags = {"SOPClassUID": metadata.get("SopClassUid")}
        tags |= study["PatientMainDicomTags"] | study["MainDicomTags"]
        tags |= series["MainDicomTags"] | found["MainDicomTags"]
        return Description(
            identifiers=Identifiers(series["ParentStudy"], found["ParentSeries"], instance),
            attributes={key: tags[key] for key in _KEYWORDS if isinstance(tags.get(key), str)},
            metadata=metadata,
        )

    def study_of(self, instance: str) -> str:
        """The identifier of the study that an instance belongs to."""
        return str(self._json(f"/instances/{instance}/study")["ID"])

    def holds(self, instance: str) -> bool:
        """Whether Orthanc holds this instance."""
        return self._has(f"/instances/{instance}")

    def instances_of(self, study: str) -> list[str]:
        """The identifiers of all instances of a study."""
        found = self._json(f"/studies/{study}")["Series"]
        return [instance for each in found for instance in self._json(f"/series/{each}")["Instances"]]

    def studies(self, since: int, limit: int) -> list[str]:
        """The identifiers of at most `limit` studies, from number `since` on."""
        found: list[str] = self._json(f"/studies?since={since}&limit={limit}")
        return found

    def count(self) -> int:
        """The number of instances."""
        return int(self._json("/statistics")["CountInstances"])

    def last_change(self) -> int:
        """The number of the last entry of the change log."""
        return int(self._json("/changes?last")["Last"])

    def studies_alike(self, study_uid: str) -> list[str]:
        """The identifiers of the studies with this Study Instance UID."""
        body = json.dumps({"Level": "Study", "Query": {"StudyInstanceUID": study_uid}}).encode()
        found: list[str] = json.loads(self._call("/tools/find", self._orthanc.RestApiPost, body))
        return found

    def changes(self, since: int, limit: int) -> Changes:
        """At most `limit` entries of the change log behind number `since`."""
        page = self._json(f"/changes?since={since}&limit={limit}")
        stored = tuple(item["ID"] for item in page["Changes"] if item["ChangeType"] == _INSTANCE_STORED)
        return Changes(stored=stored, last=int(page["Last"]), done=bool(page["Done"]))

    def labels(self, level: str, resource: str) -> list[str]:
        """The labels of a resource."""
        found: list[str] = self._json(f"/{level}/{resource}/labels")
        return found

    def set_label(self, level: str, resource: str, label: str, *, present: bool) -> None:
        """Add or remove a label."""
        path = f"/{level}/{resource}/labels/{label}"
        if present:
            self._call(path, self._orthanc.RestApiPut, b"")
        else:
            self._call(path, self._orthanc.RestApiDelete)

    def set_metadata(self, level: str, resource: str, number: int, value: str) -> None:
        """Write user-defined metadata; while revisions are checked, what is there already stays as it is."""
        path = f"/{level}/{resource}/metadata/{number}"
        if not (self._checks_revisions and self._has(path)):
            self._call(path, self._orthanc.RestApiPut, value.encode())

    def _has(self, path: str) -> bool:
        try:
            self._get(path)
        except NotStored:
            return False
        return True

    def _json(self, path: str) -> Any:
        return json.loads(self._get(path))

    def _get(self, path: str) -> bytes:
        found: bytes = self._call(path, self._orthanc.RestApiGet)
        return found

    def _call(self, path: str, verb: Any, *arguments: Any) -> Any:
        """Raises NotStored where Orthanc has no such resource, ArchiveUnavailable where it answers nothing.

        Orthanc 1.12.7 reports every failure as an unknown resource, so that it is asked something else.
        """
        try:
            return verb(path, *arguments)
        except self._orthanc.OrthancException as problem:
            try:
                self._orthanc.RestApiGet("/changes?last")
            except self._orthanc.OrthancException as also:
                raise ArchiveUnavailable(f"Orthanc answers nothing for now: {also}") from also
            raise NotStored(f"Orthanc does not answer {path}: {problem}") from problem
