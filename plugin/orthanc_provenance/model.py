"""The words of the project, as types.

Every other room speaks in these: what was found in an object (`Evidence`), what that makes of it
(`Assessment`), and whether it may leave (`Verdict`). Nothing here reads DICOM or knows Orthanc.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """Where the pixels of an object come from."""

    ACQUIRED = "acquired"
    AI_DERIVED = "ai-derived"
    AI_GENERATED = "ai-generated"
    SIMULATED = "simulated"
    UNDETERMINED = "undetermined"
    NON_IMAGE = "non-image"

    @property
    def is_synthetic(self) -> bool:
        """No acquisition lies under the pixels: they come from a generative model or a simulation."""
        return self in (Origin.AI_GENERATED, Origin.SIMULATED)

    @property
    def may_be_labelled(self) -> bool:
        """Some or all of the content is artificial, which an object may say of itself."""
        return self.is_synthetic or self is Origin.AI_DERIVED


class State(StrEnum):
    """What a person reads: the origin, with `acquired` split by privacy."""

    ORIGINAL = "original"
    PRIVACY_PROTECTED = "privacy-protected"
    AI_DERIVED = "ai-derived"
    AI_GENERATED = "ai-generated"
    SIMULATED = "simulated"
    UNDETERMINED = "undetermined"
    NON_IMAGE = "non-image"

    @property
    def origin(self) -> Origin:
        """The origin behind the state."""
        if self in (State.ORIGINAL, State.PRIVACY_PROTECTED):
            return Origin.ACQUIRED
        return Origin(self.value)


class Axis(StrEnum):
    """What a marker speaks about. No evidence on one axis ever moves another."""

    ORIGIN = "origin"
    PRIVACY = "privacy"
    MODIFIER = "modifier"


class Strength(StrEnum):
    """How strongly a marker speaks, strongest first: `declared` > `coded` > `equipment` > `text`."""

    DECLARED = "declared"
    CODED = "coded"
    EQUIPMENT = "equipment"
    TEXT = "text"

    @property
    def is_structured(self) -> bool:
        """Anything but words found in free text, which alone never makes an object synthetic."""
        return self is not Strength.TEXT


class Modifier(StrEnum):
    """What else is worth knowing about an object whose origin is told."""

    AI_RECONSTRUCTION = "ai-reconstruction"
    CONVENTIONAL_DERIVATION = "conventional-derivation"
    PHANTOM = "phantom"
    CONVERTED = "converted"
    INHERITED = "inherited"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A marker that matched in one object.

    `attribute` is the path in the standard's notation, `(0008,001C)` or
    `(0018,A001)[1]>(0040,A170)[1]>(0008,0100)` with items counted from 1. `value` is the matched value,
    at most 128 characters, and never taken from an attribute that identifies a patient. `says` is the
    axis' value: an origin, `identity-removed`, `defaced`, or a modifier.
    """

    marker: str
    attribute: str
    value: str
    axis: Axis
    says: str
    strength: Strength


@dataclass(frozen=True, slots=True)
class Privacy:
    """The two privacy flags: the second axis, which never moves the origin."""

    identity_removed: bool = False
    defaced: bool = False

    @property
    def is_protected(self) -> bool:
        """Whether any privacy flag is set."""
        return self.identity_removed or self.defaced


@dataclass(frozen=True, slots=True)
class Assessment:
    """What one object is, and why.

    `labelled` is true for synthetic content that says so itself, machine-readably, as received.
    `reason` is set only where no assessment could be made: it says why, without patient data.
    """

    origin: Origin
    privacy: Privacy = Privacy()
    labelled: bool = False
    modifiers: tuple[Modifier, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""

    @property
    def state(self) -> State:
        """The state a person reads (one of seven)."""
        if self.origin is Origin.ACQUIRED:
            return State.PRIVACY_PROTECTED if self.privacy.is_protected else State.ORIGINAL
        return State(self.origin.value)

    @classmethod
    def failed(cls, reason: str) -> Assessment:
        """The assessment of an object that could not be assessed: `undetermined`, hence out of research."""
        return cls(origin=Origin.UNDETERMINED, reason=reason)


class Verdict(StrEnum):
    """What the gate lets a route do, from least to most closed."""

    RELEASE = "release"
    WITHHOLD = "withhold"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and its reason codes, in the order in which they were found."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
