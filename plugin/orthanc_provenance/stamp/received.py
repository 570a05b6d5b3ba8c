"""What the stamps in a received object are worth, and what they make of its assessment.

- Valid and signed by a trusted key: evidence. It decides where it is more suspicious than what else is in the
  object, and where that says nothing, or only that content is artificial and not how, because headers were
  stripped. Otherwise the object's own evidence wins, and what contradicts it is a conflict. Signed was what
  the *pixels* are; what the header says is never taken from a statement: no identity becomes removed by it,
  and nothing labelled. What was a claim or a conflict when it was signed is no better for the signature.
- Unsigned, or signed by a key that nobody trusts: a claim. It is shown, believed only where it closes, and
  then as no more than words, with which nothing is released.
- Altered since it was signed, or about other pixels: a claim, and a conflict.

A stamp that a later, valid one names as its predecessor is history and counts no more.
"""

from __future__ import annotations

from dataclasses import replace

from ..dicom.dataset import tag_name
from ..dicom.header import Header
from ..lineage import says_how, says_more
from ..model import Assessment, Axis, Evidence, Modifier, Origin, State, Strength
from .block import DEFACED, GROUP, SIGNED_STATEMENT, STATE, BlockElement, Stamp, read_stamps
from .elements import claimed_states
from .statement import Statement, digest_of
from .subject import subject_of
from .trust import CONTENT_ALTERED, Standing, TrustedKeys, Word

TRUSTED = "stamp.trusted"
CLAIMED = "stamp.claimed"
CONFLICT = "conflict.stamp"
MAX_STAMPS = 16
"""Stamps of one object whose signatures are checked, the latest; others are claims."""

_CLAIM = "claim"
_ITEMS = "(0018,A001)"
_CONTRADICTION = "contradiction"
_SIGNED_CONFLICT = "signed-conflict"
_SILENT = frozenset((Origin.UNDETERMINED, Origin.NON_IMAGE))


def weigh(assessment: Assessment, header: Header, trusted: TrustedKeys, digest: str | None) -> Assessment:
    """`assessment`, made from what else the object of `header` holds, with what its stamps add.

    `digest` is the pixel digest (`dicom.digest.pixel_digest`), None where it is not known: then no statement
    is believed. Raises HeaderTooLarge.
    """
    stamps, left = read_stamps(header), claimed_states(header)
    if not stamps and not left:
        return assessment
    standings = check_stamps(header, stamps, trusted, digest)
    past = superseded(stamps, standings)
    told = {state for place in past for state in _states(stamps[place])}
    present = [pair for place, pair in enumerate(zip(stamps, standings, strict=True)) if place not in past]
    for stamp, standing in present:
        if standing.word is Word.VALID and standing.statement is not None:
            told.update(_states(stamp))
            assessment = _believe(assessment, stamp, standing.statement, trusted.is_own(standing.key_id))
    for stamp, standing in present:
        if standing.word is not Word.VALID and (standing.altered or not told.issuperset(_states(stamp))):
            assessment = _doubt(assessment, stamp, standing)
    for state in left:
        if state not in told:
            assessment = _close(assessment, state.origin, _ITEMS)
    return assessment


def check_stamps(
    header: Header, stamps: tuple[Stamp, ...], trusted: TrustedKeys, digest: str | None
) -> tuple[Standing, ...]:
    """How each of `stamps`, all of the object of `header`, stands."""
    if not stamps:
        return ()
    subject = None if digest is None else subject_of(header, digest)
    skipped = max(0, len(stamps) - MAX_STAMPS)
    unread = Standing(Word.UNTRUSTED, (f"the object has more than {MAX_STAMPS} stamps",))
    checked = (trusted.check(header, stamp, subject) for stamp in stamps[skipped:])
    return (*(unread for _ in range(skipped)), *checked)


def superseded(stamps: tuple[Stamp, ...], standings: tuple[Standing, ...]) -> frozenset[int]:
    """The places of the stamps that a valid one names as its predecessor, or that one as its own.

    Where a stamp lies says nothing about its age: whoever changes an object can move it.
    """
    places = {digest_of(stamp.statement): place for place, stamp in enumerate(stamps) if stamp.statement}
    past: set[int] = set()
    for standing in standings:
        statement = standing.statement if standing.word is Word.VALID else None
        while statement is not None:
            place = places.get(statement.previous)
            if place is None or place in past:
                break
            past.add(place)
            statement = standings[place].statement
    return frozenset(past)


def _states(stamp: Stamp) -> frozenset[State]:
    return frozenset() if stamp.state is None else frozenset((stamp.state,))


def _believe(assessment: Assessment, stamp: Stamp, statement: Statement, own: bool) -> Assessment:
    """What a valid statement of a trusted key adds; one of our own keys adds only what is gone since."""
    origin, attribute = statement.origin, _path(stamp, SIGNED_STATEMENT)
    # What was no more than a claim when it was signed does not become more by that.
    strength = Strength.TEXT if CLAIMED in statement.evidence else Strength.DECLARED
    says = Evidence(TRUSTED, attribute, origin.value, Axis.ORIGIN, origin.value, strength)
    if origin.may_be_labelled and not statement.labelled:
        assessment = replace(assessment, labelled=False)
    settles = strength is Strength.DECLARED and _tells_how(origin, assessment)
    decides = settles or says_more(Assessment(origin), assessment)
    if Origin.NON_IMAGE not in (origin, assessment.origin) and decides:
        assessment = _take_over(assessment, says)
    elif _contradicts(origin, assessment):
        assessment = _conflict(assessment, attribute, _CONTRADICTION)
    elif origin is assessment.origin and not own:
        assessment = replace(assessment, evidence=(*assessment.evidence, says))
    if DEFACED in statement.privacy and not assessment.privacy.defaced:
        # Said of the pixels, and they are the same.
        seen = Evidence(TRUSTED, attribute, DEFACED, Axis.PRIVACY, DEFACED, Strength.DECLARED)
        privacy = replace(assessment.privacy, defaced=True)
        assessment = replace(assessment, privacy=privacy, evidence=(*assessment.evidence, seen))
    if Modifier.CONFLICT in statement.modifiers and Modifier.CONFLICT not in assessment.modifiers:
        # The stamp above an altered one hides it from the next gateway; what was wrong stays wrong.
        assessment = _conflict(assessment, attribute, _SIGNED_CONFLICT)
    return assessment


def _doubt(assessment: Assessment, stamp: Stamp, standing: Standing) -> Assessment:
    """What a stamp adds that is not to be believed."""
    attribute = _path(stamp, STATE)
    signed = None if standing.statement is None else standing.statement.origin
    named = None if stamp.state is None else stamp.state.origin
    claims = tuple(dict.fromkeys(origin for origin in (named, stamp.origin, signed) if origin is not None))
    # The header of an object without pixels is corrected on its way, and nobody need have lied.
    faults = [fault for fault in standing.altered if fault != CONTENT_ALTERED]
    if not faults and any(_contradicts(origin, assessment) for origin in claims):
        faults = [_CONTRADICTION]
    if stamp.state is not None:
        shown = Evidence(CLAIMED, attribute, stamp.state.value, Axis.MODIFIER, _CLAIM, Strength.TEXT)
        assessment = replace(assessment, evidence=(*assessment.evidence, shown))
    for origin in claims:
        assessment = _close(assessment, origin, attribute)
    return _conflict(assessment, attribute, "+".join(faults)) if faults else assessment


def _close(assessment: Assessment, origin: Origin, attribute: str) -> Assessment:
    """Believe the claim of an `origin` where that closes; as words, so that nothing is released for it."""
    if origin in (Origin.NON_IMAGE, Origin.ACQUIRED) or assessment.origin is Origin.NON_IMAGE:
        return assessment
    if not says_more(Assessment(origin), assessment):
        return assessment
    says = Evidence(CLAIMED, attribute, origin.value, Axis.ORIGIN, origin.value, Strength.TEXT)
    return _take_over(assessment, says)


def _tells_how(origin: Origin, assessment: Assessment) -> bool:
    """Whether `origin` is how came about what the object, and no trusted statement, declares artificial."""
    heard = any(found.marker == TRUSTED and found.axis is Axis.ORIGIN for found in assessment.evidence)
    return not heard and says_how(Assessment(origin), assessment)


def _contradicts(origin: Origin, assessment: Assessment) -> bool:
    """Whether two origins exclude each other. That nothing can be told contradicts nothing, and how
    artificial content came about does not contradict that it is artificial.
    """
    if origin is assessment.origin or _tells_how(origin, assessment):
        return False
    return _SILENT.isdisjoint((origin, assessment.origin))


def _take_over(assessment: Assessment, says: Evidence) -> Assessment:
    return replace(
        assessment,
        origin=Origin(says.says),
        modifiers=_with(assessment, Modifier.INHERITED),
        evidence=(*assessment.evidence, says),
    )


def _conflict(assessment: Assessment, attribute: str, fault: str) -> Assessment:
    says = Evidence(CONFLICT, attribute, fault, Axis.MODIFIER, Modifier.CONFLICT.value, Strength.DECLARED)
    return replace(
        assessment,
        modifiers=_with(assessment, Modifier.CONFLICT),
        evidence=(*assessment.evidence, says),
    )


def _with(assessment: Assessment, modifier: Modifier) -> tuple[Modifier, ...]:
    return tuple(dict.fromkeys((*assessment.modifiers, modifier)))


def _path(stamp: Stamp, element: BlockElement) -> str:
    return tag_name((GROUP << 16) | (stamp.block << 8) | element.number)
