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


class StatementError(ProvenanceError):
    """A signed statement is none that can be read; the message says what is wrong with it."""


class KeyFileError(ProvenanceError):
    """A key cannot be read, made or fetched: names the file or address, and what to do."""


class CatalogueError(ProvenanceError):
    """A marker file is wrong: names file, entry, reason, and what to write instead.

    `file` is its name without the folder, and `entry` the id of the entry, or "number 3" where it has none;
    both are "" where the reason concerns no file or no single entry.
    """

    def __init__(self, reason: str, suggestion: str = "", *, file: str = "", entry: str = "") -> None:
        self.reason = reason
        self.suggestion = suggestion
        self.file = file
        self.entry = entry
        where = ", entry ".join(part for part in (file, entry) if part)
        super().__init__(
            ": ".join(part for part in (where, "; ".join(filter(None, (reason, suggestion)))) if part)
        )


class CommandError(ProvenanceError):
    """A command cannot do what it was asked for: names the option or file, and what would do."""


class ConfigurationError(ProvenanceError):
    """The `Provenance` section, or Orthanc's configuration around it, is wrong: names key and way out."""


class TokenError(ProvenanceError):
    """An access token cannot be made as asked for: names what is wrong and what would do."""


class IndexUnavailable(ProvenanceError):  # noqa: N818 - a condition of the gate, named as the gate speaks of it
    """The index cannot be read or written: research is closed until it can."""


class Unreadable(ProvenanceError):  # noqa: N818 - what the archive answers
    """The archive holds the instance and cannot read its file, as on a broken disk."""


class Withdrawn(ProvenanceError):  # noqa: N818 - what the gate answers
    """What was announced in an answer may not leave any more: the answer breaks off, and is not whole."""


class ArchiveUnavailable(ProvenanceError):  # noqa: N818 - what the archive answers
    """The archive answers nothing at all for now: nothing can be said about what it holds."""


class NotStored(ProvenanceError):  # noqa: N818 - what the archive answers
    """The archive holds no such instance (any more)."""


class NotEncodable(ProvenanceError):  # noqa: N818 - what the archive answers
    """The archive cannot give this object in the transfer syntax, or as the picture, that is asked for."""
