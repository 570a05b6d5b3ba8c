"""Inheritance: what a copy that Orthanc itself made owes to its source.

Stripping headers must not turn a synthetic study real (DESIGN section 4). Orthanc's modification and
anonymisation jobs name the source in the metadata `ModifiedFrom` and `AnonymizedFrom` of each instance.
"""

from __future__ import annotations

from dataclasses import replace

from .model import Assessment, Axis, Evidence, Modifier, Origin, Strength

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
    if not says_more(source, copy):
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


def says_more(source: Assessment, copy: Assessment) -> bool:
    """Whether the source decides: it is the more suspicious one, or the copy has nothing to say."""
    silent = copy.origin is Origin.UNDETERMINED and not any(
        evidence.axis is Axis.ORIGIN for evidence in copy.evidence
    )
    if silent and source.origin is Origin.ACQUIRED:
        return not copy.reason
    return _SUSPICION.index(source.origin) > _SUSPICION.index(copy.origin)
