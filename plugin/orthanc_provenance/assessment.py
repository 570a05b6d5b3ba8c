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
from .evidence.acquisition import Acquisition, shipped_acquisition
from .evidence.catalogue import Catalogue
from .evidence.marker import DEFACED, IDENTITY_REMOVED
from .evidence.matcher import match
from .evidence.sources import has_sources, is_own_source
from .model import Assessment, Axis, Evidence, Modifier, Origin, Privacy, Strength

_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018
_SYNTHETIC_DATA = 0x0008001C
_PATIENT_IDENTITY_REMOVED = 0x00120062
_STORAGE = "1.2.840.10008.5.1.4.1.1."

_NON_IMAGE = (
    _STORAGE + "11.",  # presentation states
    _STORAGE + "66.1",  # spatial registration
    _STORAGE + "66.2",  # spatial fiducials
    _STORAGE + "66.3",  # deformable spatial registration
    _STORAGE + "67",  # real world value mapping
    _STORAGE + "78.",  # measurements of an eye and its glasses
    _STORAGE + "79.1",  # macular grid report
    _STORAGE + "80.1",  # visual field measurements
    _STORAGE + "88.",  # structured reports, key object selections, procedure logs
    _STORAGE + "104.",  # encapsulated documents
    _STORAGE + "131",  # basic structured display
    _STORAGE + "200.",  # defined and performed protocols
    _STORAGE + "481.4",  # what a treatment machine has done: beams,
    _STORAGE + "481.6",  # brachytherapy,
    _STORAGE + "481.7",  # summary,
    _STORAGE + "481.9",  # ion beams
    _STORAGE + "481.5",  # treatment plan
    _STORAGE + "481.8",  # ion beam treatment plan
    "1.2.840.10008.5.1.4.38.",  # hanging protocols
    "1.2.840.10008.5.1.4.39.",  # color palettes
    "1.2.840.10008.5.1.4.43.",  # implant templates,
    "1.2.840.10008.5.1.4.44.",  # their assemblies
    "1.2.840.10008.5.1.4.45.",  # and groups
    "1.2.840.10008.1.3.10",  # media directory
)
"""SOP classes without pixels to doubt (PS3.4 annex B.5), by the beginning of their UIDs.

Contours and segmentations are not among them: they are about pixels, and networks draw them.
"""


@dataclass(frozen=True)
class Facts:
    """What the evidence on the origin axis comes to, as the precedence asks for it."""

    header: Header
    evidence: tuple[Evidence, ...]
    rules: Acquisition

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
        return () if self.converted else self.rules.evidence(self.header)

    @cached_property
    def origin(self) -> Origin:
        """The origin: that of the first rule of the precedence that holds."""
        return next(rule.origin for rule in PRECEDENCE if rule.when(self))

    @cached_property
    def made(self) -> bool:
        """Some or all of the pixels are artificial, by what all evidence comes to."""
        return self.origin.may_be_labelled

    @cached_property
    def identity_removed(self) -> bool:
        """More than words says that the identity of the patient was removed."""
        return IDENTITY_REMOVED in self.protected

    @cached_property
    def protected(self) -> frozenset[str]:
        """What is said on the privacy axis by more than words, which set no flag."""
        return frozenset(
            found.says
            for found in self.evidence
            if found.axis is Axis.PRIVACY and found.strength.is_structured
        )

    @cached_property
    def own_source(self) -> bool:
        """The object names itself as what it was made from."""
        return is_own_source(self.header)

    def denies(self, tag: int) -> bool:
        """The object says NO in the attribute `tag`."""
        return self.header.text(tag).upper() == "NO"

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


class Conflict(NamedTuple):
    """One way in which an object contradicts itself: what it says at `tag`, and when that cannot be so.

    `tag` is None where what contradicts is evidence already.
    """

    marker: str
    tag: int | None
    says: str
    when: Callable[[Facts], bool]


CONFLICTS = (
    Conflict(
        "conflict.synthetic-data",
        _SYNTHETIC_DATA,
        "NO",
        lambda facts: facts.made and facts.denies(_SYNTHETIC_DATA),
    ),
    Conflict(
        "conflict.identity-removed",
        _PATIENT_IDENTITY_REMOVED,
        "NO",
        lambda facts: facts.identity_removed and facts.denies(_PATIENT_IDENTITY_REMOVED),
    ),
    # What was made from an object owes a SOP Instance UID of its own (PS3.3 section C.7.6.1.1.2).
    Conflict("conflict.own-source", _SOP_INSTANCE, "its own source", lambda facts: facts.own_source),
    # Words alone make nothing synthetic, and acquisition attributes do not make them unsaid.
    Conflict("conflict.words", None, "", lambda facts: facts.words and facts.origin is Origin.UNDETERMINED),
)
"""Every one that holds is named, none moves the origin, and the gate withholds the object on every route."""


def assess(header: Header, catalogue: Catalogue, *, claimed_unlabelled: bool = False) -> Assessment:
    """What the object with `header` is, and why.

    `claimed_unlabelled` says that a stamp found in the object denies that it was labelled as received: the
    SyntheticData in it may then be the stamp's, and the assessment is not `labelled`. Raises HeaderTooLarge.
    """
    facts = Facts(header, match(catalogue, header), shipped_acquisition())
    conflicts = tuple(conflict for conflict in CONFLICTS if conflict.when(facts))
    evidence = _told(facts, claimed_unlabelled) + tuple(_named(one, one.tag) for one in conflicts if one.tag)
    return Assessment(
        origin=facts.origin,
        privacy=_privacy(facts),
        labelled=facts.made and facts.declared and not claimed_unlabelled,
        modifiers=_modifiers(evidence, bool(conflicts)),
        evidence=evidence,
    )


def _told(facts: Facts, claimed_unlabelled: bool) -> tuple[Evidence, ...]:
    """The evidence as the assessment tells it.

    A declaration says that content is artificial, not how: it is told as saying what the rest has settled.
    """
    origin = facts.origin
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
    if claimed_unlabelled and (facts.generator or facts.simulator):
        # Read again, the object is told as it was when it came: without what its own stamp added.
        told = tuple(found for found in told if not _is_synthetic_data(found))
    return told


def _is_synthetic_data(evidence: Evidence) -> bool:
    return evidence.strength is Strength.DECLARED and evidence.attribute == tag_name(_SYNTHETIC_DATA)


def _named(conflict: Conflict, tag: int) -> Evidence:
    return Evidence(
        conflict.marker,
        tag_name(tag),
        conflict.says,
        Axis.MODIFIER,
        Modifier.CONFLICT.value,
        Strength.DECLARED,
    )


def _privacy(facts: Facts) -> Privacy:
    """An object that says its identity is not removed is believed."""
    return Privacy(
        identity_removed=facts.identity_removed and not facts.denies(_PATIENT_IDENTITY_REMOVED),
        defaced=DEFACED in facts.protected,
    )


def _modifiers(evidence: tuple[Evidence, ...], in_conflict: bool) -> tuple[Modifier, ...]:
    says = {found.says for found in evidence if found.axis is Axis.MODIFIER}
    if in_conflict:
        says.add(Modifier.CONFLICT.value)
    return tuple(modifier for modifier in Modifier if modifier.value in says)
