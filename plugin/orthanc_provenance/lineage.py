"""Inheritance: what a copy that Orthanc itself made owes to its source.

Stripping headers must not turn a synthetic study real (DESIGN section 4). Orthanc's modification and
anonymisation jobs name the source in the metadata `ModifiedFrom` and `AnonymizedFrom` of each instance.
"""

from __future__ import annotations

from dataclasses import replace

from .model import Assessment, Axis, Evidence, Modifier, Origin, Strength

_IDENTITY = "conflict.identity-removed"
# A copy is never less suspicious than its source: this is the precedence of the origin axis.
_SUSPICION = (
    Origin.NON_IMAGE,
    Origin.ACQUIRED,
    Origin.UNDETERMINED,
    Origin.AI_DERIVED,
    Origin.SIMULATED,
    Origin.AI_GENERATED,
)


def inherit(copy: Assessment, source: Assessment, metadata: str) -> Assessment:
    """The assessment of `copy`, which Orthanc made from an object assessed as `source`.

    `metadata` is the name of the metadata that says so. A copy that lost its acquisition evidence keeps the
    source's `acquired`; a synthetic or AI-derived source is never forgotten, and no copy is labelled whose
    source was not: the label may be the one that our own stamp added to the source.
    """
    if Origin.NON_IMAGE in (copy.origin, source.origin):
        return copy
    if source.origin.may_be_labelled and not source.labelled:
        copy = replace(copy, labelled=False)
    copy = _with_contradiction(copy, source, metadata)
    if not (says_more(source, copy) or says_how(source, copy)):
        return copy
    evidence = Evidence(
        marker=f"lineage.{metadata.lower()}",
        attribute=metadata,
        value=source.origin.value,
        axis=Axis.ORIGIN,
        says=source.origin.value,
        strength=Strength.CODED,
    )
    return replace(
        copy,
        origin=source.origin,
        modifiers=tuple(dict.fromkeys((*copy.modifiers, Modifier.INHERITED))),
        evidence=(*copy.evidence, evidence),
    )


def _with_contradiction(copy: Assessment, source: Assessment, metadata: str) -> Assessment:
    """`copy` with the contradiction in `source` about its pixels, which stripping the header does not settle.

    Whether its identity was removed is another matter: that is what anonymising the copy was for.
    """
    told = [
        found for found in source.evidence if found.says == Modifier.CONFLICT and found.marker != _IDENTITY
    ]
    if not told or any(found.says == Modifier.CONFLICT for found in copy.evidence):
        return copy
    evidence = replace(told[0], marker=f"lineage.{metadata.lower()}-conflict", attribute=metadata)
    modifiers = tuple(dict.fromkeys((*copy.modifiers, Modifier.CONFLICT, Modifier.INHERITED)))
    return replace(copy, modifiers=modifiers, evidence=(*copy.evidence, evidence))


def says_more(source: Assessment, copy: Assessment) -> bool:
    """Whether the source decides: it is the more suspicious one, or the copy has nothing to say."""
    silent = copy.origin is Origin.UNDETERMINED and not any(
        evidence.axis is Axis.ORIGIN for evidence in copy.evidence
    )
    if silent and source.origin is Origin.ACQUIRED:
        return not copy.reason
    return _SUSPICION.index(source.origin) > _SUSPICION.index(copy.origin)


def says_how(source: Assessment, copy: Assessment) -> bool:
    """Whether the source tells how the content of the copy came about, of which the copy only declares that
    it is artificial (SyntheticData, PS3.3 section C.12.1): then `ai-generated` was the strictest guess.
    """
    if copy.origin is not Origin.AI_GENERATED or not source.origin.may_be_labelled:
        return False
    says = [found for found in copy.evidence if found.axis is Axis.ORIGIN and found.says == copy.origin.value]
    declared_alone = bool(says) and all(found.strength is Strength.DECLARED for found in says)
    return declared_alone and source.origin is not copy.origin
