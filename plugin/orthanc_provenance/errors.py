"""Errors that a user can meet: each says what was wrong, where, and what to do about it."""

from __future__ import annotations


class ProvenanceError(Exception):
    """The root of all errors raised by this package on purpose."""


class HeaderError(ProvenanceError):
    """The bytes are no DICOM object that can be read within the bounds; the message says where it broke."""


class HeaderTooLarge(HeaderError):  # noqa: N818 - a kind of HeaderError
    """The header holds more than may be read while a sender waits."""


class StampError(ProvenanceError):
    """The object cannot take a stamp; it is kept exactly as it came."""


class CatalogueError(ProvenanceError):
    """A marker file is wrong: names file, entry, reason, and what to write instead."""


class ConfigurationError(ProvenanceError):
    """The `Provenance` section, or Orthanc's configuration around it, is wrong: names key and way out."""


class IndexUnavailable(ProvenanceError):  # noqa: N818 - a condition of the gate, named as the gate speaks of it
    """The index cannot be read or written: research is closed until it can."""


class Unreadable(ProvenanceError):  # noqa: N818 - what the archive answers
    """The archive holds the instance and cannot read its file, as on a broken disk."""


class ArchiveUnavailable(ProvenanceError):  # noqa: N818 - what the archive answers
    """The archive answers nothing at all for now: nothing can be said about what it holds."""


class NotStored(ProvenanceError):  # noqa: N818 - what the archive answers
    """The archive holds no such instance (any more)."""
