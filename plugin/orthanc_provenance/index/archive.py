"""What the index needs of the archive behind it. `host` provides it from Orthanc, tests from a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from .record import Identifiers


@dataclass(frozen=True, slots=True)
class Description:
    """What the archive itself knows of an instance: identifiers, DICOM attributes by keyword, metadata."""

    identifiers: Identifiers
    attributes: Mapping[str, str]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of the archive's change log: instances that were stored, and how far the page reaches."""

    stored: tuple[str, ...]
    last: int
    done: bool


class Archive(Protocol):
    """Every method that names a resource raises NotStored where the archive holds none such.

    Every method raises ArchiveUnavailable where the archive answers nothing.
    """

    def read(self, instance: str) -> bytes:
        """The stored bytes of an instance. Raises Unreadable where the archive has it and cannot read it."""

    def describe(self, instance: str) -> Description:
        """What the archive knows of an instance."""

    def study_of(self, instance: str) -> str:
        """The identifier of the study that an instance belongs to."""

    def holds(self, instance: str) -> bool:
        """Whether the archive holds this instance."""

    def instances_of(self, study: str) -> list[str]:
        """The identifiers of all instances of a study."""

    def studies(self, since: int, limit: int) -> list[str]:
        """The identifiers of at most `limit` studies, from number `since` on."""

    def studies_alike(self, study_uid: str) -> list[str]:
        """The identifiers of the studies with this Study Instance UID: of several patients, by mistake."""

    def count(self) -> int:
        """The number of instances."""

    def last_change(self) -> int:
        """The number of the last entry of the change log."""

    def changes(self, since: int, limit: int) -> Changes:
        """At most `limit` entries of the change log behind number `since`."""

    def labels(self, level: str, resource: str) -> list[str]:
        """The labels of a resource; `level` is `studies` or `series`."""

    def set_label(self, level: str, resource: str, label: str, *, present: bool) -> None:
        """Add or remove a label."""

    def set_metadata(self, level: str, resource: str, number: int, value: str) -> None:
        """Write user-defined metadata (1024 and above); `level` is `studies` or `instances`."""
