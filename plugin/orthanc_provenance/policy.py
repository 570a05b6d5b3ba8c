"""The default research policy: what an assessed study may do on a route (DESIGN section 7).

Decided per series over the whole study, because one unlabelled synthetic instance blocks all of it, and
because a report is only as good as the images it is about.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .config import Route
from .model import Decision, Origin, Verdict


@dataclass(frozen=True, slots=True)
class Content:
    """The instances of one series that are alike in all that the policy looks at.

    `structured` is true where more than text says that the origin is what it is; `flawed` where the object
    could not be assessed or cannot take a stamp, and the index says why; `conflict` where what it says of
    itself contradicts its own evidence.
    """

    series: str
    origin: Origin
    labelled: bool
    structured: bool
    identity_removed: bool
    flawed: bool = False
    conflict: bool = False


_OPENNESS = (Verdict.RELEASE, Verdict.WITHHOLD, Verdict.BLOCK)


def decide(contents: Iterable[Content], route: Route) -> dict[str, Decision]:
    """The decision for each series of one study on `route`.

    All series that share a Study Instance UID belong in `contents`. A series is as closed as its most
    closed content; a block closes the whole study; objects without pixels follow the rest of their study.
    """
    contents = list(contents)
    found: dict[str, list[tuple[Verdict, str]]] = {content.series: [] for content in contents}
    for content in contents:
        if content.origin is not Origin.NON_IMAGE:
            found[content.series].append(_judge(content, route))
        if content.flawed:
            found[content.series].append((Verdict.WITHHOLD, "not-assessed-or-not-stamped"))
        if content.conflict:
            found[content.series].append((Verdict.WITHHOLD, "conflict"))
        if route.require_identity_removed and not content.identity_removed:
            found[content.series].append((Verdict.WITHHOLD, "identity-not-removed"))
    worst = _most_closed(verdict for judged in found.values() for verdict, _ in judged)
    if worst is Verdict.BLOCK:
        blocking = {reason for judged in found.values() for verdict, reason in judged if verdict is worst}
        return {series: Decision(Verdict.BLOCK, tuple(sorted(blocking))) for series in found}
    for content in contents:
        if content.origin is Origin.NON_IMAGE:
            reason = "no-pixels" if worst is Verdict.RELEASE else "rest-of-study-withheld"
            found[content.series].append((worst, reason))
    return {series: _combine(judged) for series, judged in found.items()}


def _judge(content: Content, route: Route) -> tuple[Verdict, str]:
    """The verdict on pixels of one kind, with its reason code."""
    if content.origin is Origin.ACQUIRED:
        return Verdict.RELEASE, "acquired"
    if content.origin is Origin.AI_DERIVED:
        if content.structured:
            return Verdict.RELEASE, "ai-derived-by-structured-evidence"
        return Verdict.WITHHOLD, "ai-derived-by-text-only"
    if content.origin.is_synthetic:
        if not content.labelled:
            return Verdict.BLOCK, "unlabelled-synthetic"
        return Verdict.WITHHOLD, "undeclared-synthetic"
    if route.allow_undetermined:
        return Verdict.RELEASE, "undetermined-allowed-by-route"
    return Verdict.WITHHOLD, "undetermined"


def _combine(judged: list[tuple[Verdict, str]]) -> Decision:
    verdict = _most_closed(found for found, _ in judged)
    return Decision(verdict, tuple(sorted({reason for found, reason in judged if found is verdict})))


def _most_closed(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=_OPENNESS.index, default=Verdict.RELEASE)
