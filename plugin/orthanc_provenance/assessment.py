"""Evidence → assessment: a fixed precedence, read from top to bottom, and no scores to tune.

The two axes never touch: privacy evidence does not move the origin, and a synthetic object may well say that
its identity was removed. ImageType ORIGINAL, and the absence of contrary evidence, prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from .dicom.dataset import tag_name
from .dicom.header import Header
from .evidence.acquisition import acquisition_evidence
from .evidence.catalogue import Catalogue
from .evidence.marker import DEFACED, IDENTITY_REMOVED
from .evidence.matcher import match
from .evidence.sources import has_sources
from .model import Assessment, Axis, Evidence, Modifier, Origin, Privacy, Strength

_SOP_CLASS = 0x00080016
_SYNTHETIC_DATA = 0x0008001C
_PATIENT_IDENTITY_REMOVED = 0x00120062
_STORAGE = "1.2.840.10008.5.1.4.1.1."

_NON_IMAGE = (
    _STORAGE + "11.",  # presentation states
    _STORAGE + "39.1",  # color palette
    _STORAGE + "66.1",  # spatial registration
    _STORAGE + "66.2",  # spatial fiducials
    _STORAGE + "66.3",  # deformable spatial registration
    _STORAGE + "67",  # real world value mapping
    _STORAGE + "88.",  # structured reports, key object selections, procedure logs
    _STORAGE + "104.",  # encapsulated documents
    _STORAGE + "131",  # basic structured display
    _STORAGE + "200.",  # defined and performed protocols
    "1.2.840.10008.5.1.4.38.",  # hanging protocols
    "1.2.840.10008.1.3.10",  # media directory
)
"""SOP classes without pixels to doubt (PS3.4 annex B.5), by the beginning of their UIDs."""


@dataclass(frozen=True)
class Facts:
    """What the evidence on the origin axis comes to, as the precedence asks for it."""

    header: Header
    evidence: tuple[Evidence, ...]

    @cached_property
    def declared(self) -> bool:
        """The object says of itself that content of it is artificial."""
        return any(found.strength is Strength.DECLARED for found in self._origin)

    @cached_property
    def generator(self) -> bool:
        """Equipment or a code names a generative model."""
        return self._structured(Origin.AI_GENERATED)

    @cached_property
    def simulator(self) -> bool:
        """Equipment or a code names a simulator."""
        return self._structured(Origin.SIMULATED)

    @cached_property
    def ai(self) -> bool:
        """Equipment or a code names an AI product that processes acquisitions."""
        return self._structured(Origin.AI_DERIVED)

    @cached_property
    def sources(self) -> bool:
        """The object names what it was made from, other than itself before compression."""
        return has_sources(self.header)

    @cached_property
    def words(self) -> bool:
        """Free text speaks of synthesis or AI."""
        return any(found.strength is Strength.TEXT for found in self._origin)

    @cached_property
    def non_image(self) -> bool:
        """The SOP class has no pixels to doubt."""
        uid = self.header.text(_SOP_CLASS)
        return any(uid == known or (known[-1] == "." and uid.startswith(known)) for known in _NON_IMAGE)

    @cached_property
    def converted(self) -> bool:
        """A converter wrote the object: acquisition attributes in it are hearsay."""
        return any(
            found.says == Modifier.CONVERTED and found.strength.is_structured
            for found in self.evidence
            if found.axis is Axis.MODIFIER
        )

    @cached_property
    def acquisition(self) -> tuple[Evidence, ...]:
        """What real equipment of the modality writes."""
        return () if self.converted else acquisition_evidence(self.header)

    @cached_property
    def _origin(self) -> tuple[Evidence, ...]:
        return tuple(found for found in self.evidence if found.axis is Axis.ORIGIN)

    def _structured(self, origin: Origin) -> bool:
        return any(
            found.says == origin and found.strength in (Strength.CODED, Strength.EQUIPMENT)
            for found in self._origin
        )


class Rule(NamedTuple):
    """One line of the precedence."""

    origin: Origin
    when: Callable[[Facts], bool]


PRECEDENCE = (
    Rule(Origin.AI_GENERATED, lambda facts: facts.generator),
    Rule(Origin.SIMULATED, lambda facts: facts.simulator),
    Rule(Origin.AI_DERIVED, lambda facts: facts.declared and (facts.ai or facts.sources)),
    Rule(Origin.AI_GENERATED, lambda facts: facts.declared),
    Rule(Origin.AI_DERIVED, lambda facts: facts.ai),
    Rule(Origin.UNDETERMINED, lambda facts: facts.words),
    Rule(Origin.NON_IMAGE, lambda facts: facts.non_image),
    Rule(Origin.ACQUIRED, lambda facts: bool(facts.acquisition)),
    Rule(Origin.UNDETERMINED, lambda facts: True),
)
"""The origin is that of the first rule that holds. What names a generator or a simulator is never softened
by a declaration, by sources, or by acquisition attributes, which simulators imitate."""


def assess(header: Header, catalogue: Catalogue, *, claimed_unlabelled: bool = False) -> Assessment:
    """What the object with `header` is, and why.

    `claimed_unlabelled` says that a stamp found in the object denies that it was labelled as received: the
    SyntheticData in it may then be the stamp's, and the assessment is not `labelled`. Raises HeaderTooLarge.
    """
    facts = Facts(header, match(catalogue, header))
    origin = next(rule.origin for rule in PRECEDENCE if rule.when(facts))
    evidence = _told(facts, origin)
    if claimed_unlabelled and (facts.generator or facts.simulator):
        # Read again, the object is told as it was when it came: without what its own stamp added.
        evidence = tuple(found for found in evidence if not _is_synthetic_data(found))
    is_made = origin.is_synthetic or origin is Origin.AI_DERIVED
    conflicts = _conflicts(facts, origin)
    evidence += conflicts
    return Assessment(
        origin=origin,
        privacy=_privacy(header, evidence),
        labelled=is_made and facts.declared and not claimed_unlabelled,
        modifiers=_modifiers(evidence, origin),
        evidence=evidence,
    )


def _told(facts: Facts, origin: Origin) -> tuple[Evidence, ...]:
    """The evidence as the assessment tells it.

    A declaration says that content is artificial, not how: it is told as saying what the rest has settled.
    """
    told = tuple(
        replace(found, says=origin.value)
        if found.axis is Axis.ORIGIN and found.strength is Strength.DECLARED
        else found
        for found in facts.evidence
        if origin is Origin.ACQUIRED or found.says != Modifier.CONVENTIONAL_DERIVATION
    )
    if origin is Origin.ACQUIRED:
        told += facts.acquisition
    elif origin is Origin.NON_IMAGE:
        uid = facts.header.text(_SOP_CLASS)
        told += (Evidence("sop-class", "(0008,0016)", uid, Axis.ORIGIN, origin.value, Strength.CODED),)
    return told


def _is_synthetic_data(evidence: Evidence) -> bool:
    return evidence.strength is Strength.DECLARED and evidence.attribute == tag_name(_SYNTHETIC_DATA)


def _conflicts(facts: Facts, origin: Origin) -> tuple[Evidence, ...]:
    """Statements of the object that contradict its own evidence."""
    found: list[Evidence] = []
    is_made = origin.is_synthetic or origin is Origin.AI_DERIVED
    if is_made and _says_no(facts.header, _SYNTHETIC_DATA):
        found.append(_conflict("conflict.synthetic-data", "(0008,001C)"))
    removed = any(evidence.says == IDENTITY_REMOVED for evidence in facts.evidence)
    if removed and _says_no(facts.header, _PATIENT_IDENTITY_REMOVED):
        found.append(_conflict("conflict.identity-removed", "(0012,0062)"))
    return tuple(found)


def _conflict(marker: str, attribute: str) -> Evidence:
    return Evidence(marker, attribute, "NO", Axis.MODIFIER, Modifier.CONFLICT.value, Strength.DECLARED)


def _says_no(header: Header, tag: int) -> bool:
    return header.text(tag).upper() == "NO"


def _privacy(header: Header, evidence: tuple[Evidence, ...]) -> Privacy:
    """Words alone set no flag, and an object that says its identity is not removed is believed."""
    says = {found.says for found in evidence if found.axis is Axis.PRIVACY and found.strength.is_structured}
    return Privacy(
        identity_removed=IDENTITY_REMOVED in says and not _says_no(header, _PATIENT_IDENTITY_REMOVED),
        defaced=DEFACED in says,
    )


def _modifiers(evidence: tuple[Evidence, ...], origin: Origin) -> tuple[Modifier, ...]:
    says = {found.says for found in evidence if found.axis is Axis.MODIFIER}
    has_words = any(found.axis is Axis.ORIGIN and found.strength is Strength.TEXT for found in evidence)
    if has_words and origin is Origin.UNDETERMINED:
        says.add(Modifier.CONFLICT.value)
    return tuple(modifier for modifier in Modifier if modifier.value in says)
