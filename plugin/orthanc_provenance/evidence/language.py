"""The small language of marker files: where to look (attribute paths) and what for (patterns).

Paths. A keyword of PS3.6 (`Manufacturer`), a tag (`(0008,001C)`), or a private element by the creator of its
block (`(0043,"GEMS_PARM_01",CA)`, PS3.5 section 7.8.1); steps through Sequences are joined by `>`. Three
abbreviations stand for several attributes: `@equipment`, `@derivation` (descriptions of the series, the
image and its making) and `@description` (these, and descriptions of study and protocol, which an object
shares with others of its study).

Patterns, all without regard to case, each a text or a list of texts of which one must fit:

* `equals`  the whole value; a value cut to the 16 or 64 characters of its VR still fits
* `prefix`  the beginning of the value, cut likewise
* `token`   whole words inside the value: letters and digits must not touch the match. A blank in the token
            stands for any run of blanks, dashes, dots and underscores, or none
* `regex`   a Python regular expression, searched in the first 1,024 characters
* `words`   the same, for what people write: dashes and underscores in the value count as blanks
* `code`    `SCHEME:VALUE`, an Item of a Code Sequence (PS3.3 section 8)
* `present` (true) any value, or any Item
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword

from ..dicom.scan import Tag
from .effort import refuse_endless

MAX_INPUT = 1024
KINDS = ("equals", "token", "prefix", "words", "regex", "code", "present")
_MAX_REGEX = 500
_KEYWORDS_OF_NEWER_EDITIONS = {"SyntheticData": 0x0008001C}
_STANDARD = re.compile(r"^\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-f]{4})\)?$")
_PRIVATE = re.compile(r"""^\(([0-9A-Fa-f]{4}),["']([^"']{1,64})["'],(?:xx)?([0-9A-Fa-f]{2})\)$""")
_BLANKS = {ord(letter): ord(" ") for letter in "-_"}
_LONG_TEXT = frozenset({"ST", "LT", "UT", "UR"})

_ITEM = "ContributingEquipmentSequence>"
_DERIVATION = (
    "SeriesDescription",
    "DerivationDescription",
    "ImageComments",
    "ContentDescription",
    _ITEM + "ContributionDescription",
    "SharedFunctionalGroupsSequence>DerivationImageSequence>DerivationDescription",
    "PerFrameFunctionalGroupsSequence>DerivationImageSequence>DerivationDescription",
)
_ABBREVIATIONS = {
    "@equipment": (
        "Manufacturer",
        "ManufacturerModelName",
        "SoftwareVersions",
        _ITEM + "Manufacturer",
        _ITEM + "ManufacturerModelName",
        _ITEM + "SoftwareVersions",
    ),
    "@derivation": _DERIVATION,
    "@description": (
        *_DERIVATION,
        "StudyDescription",
        "ProtocolName",
        "PerformedProcedureStepDescription",
    ),
}

# Group 0010 and Person Names identify patients; these are all that may be read of that group.
_ALLOWED_OF_PATIENT = frozenset({0x00100200})
# Accession Number, Study ID, Admission ID; and Code Meaning, in which every concept's words would be found.
_NEVER_READ = frozenset({0x00080050, 0x00200010, 0x00380010, 0x00080104})


@dataclass(frozen=True, slots=True)
class Step:
    """One element on a path: `tag`, for a private one its group and low byte beside the block's `creator`."""

    tag: Tag
    creator: str = ""


@dataclass(frozen=True, slots=True)
class AttributePath:
    """Where a marker looks: Sequences and the final element, whose dictionary `vr` is "" if unknown."""

    text: str
    steps: tuple[Step, ...]
    vr: str

    @property
    def is_sequence(self) -> bool:
        """Whether the final element has Items, of which the codes are compared."""
        return self.vr == "SQ"

    @property
    def is_long_text(self) -> bool:
        """Whether a backslash in the value is a character (PS3.5 section 6.2)."""
        return self.vr in _LONG_TEXT


@dataclass(frozen=True, slots=True)
class Pattern:
    """What to look for; `find` returns the part of a value that matched, or None."""

    kind: str
    words: tuple[str, ...]
    find: Callable[[str], str | None]


def parse_paths(text: str) -> tuple[AttributePath, ...]:
    """The paths that `text` stands for. Raises ValueError with a reason fit to be shown."""
    if text.startswith("@"):
        if text not in _ABBREVIATIONS:
            raise ValueError(f"{text} is no abbreviation; there are {', '.join(sorted(_ABBREVIATIONS))}")
        return tuple(_parse_path(path) for path in _ABBREVIATIONS[text])
    return (_parse_path(text),)


def _parse_path(text: str) -> AttributePath:
    steps = tuple(_parse_step(part.strip()) for part in text.split(">"))
    last = steps[-1]
    return AttributePath(text, steps, "" if last.creator else _vr(last.tag))


def _parse_step(text: str) -> Step:
    if found := _PRIVATE.match(text):
        group = int(found[1], 16)
        if not group & 1:
            raise ValueError(f"{text}: group {found[1]} is even; private groups are odd")
        return Step((group << 16) | int(found[3], 16), found[2].strip().upper())
    if found := _STANDARD.match(text):
        if int(found[1], 16) & 1:
            raise ValueError(f'{text} is private; write (group,"creator",element) with a two-digit element')
        return Step(int(found[1] + found[2], 16))
    tag = tag_for_keyword(text) or _KEYWORDS_OF_NEWER_EDITIONS.get(text)
    if tag is None:
        close = did_you_mean(text, (*keyword_dict, *_KEYWORDS_OF_NEWER_EDITIONS))
        raise ValueError(
            f"{text!r} is no keyword of PS3.6; write the tag as (gggg,eeee) if it is newer{close}"
        )
    return Step(tag)


def _vr(tag: Tag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "CS" if tag in _KEYWORDS_OF_NEWER_EDITIONS.values() else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to the refusal of `word`, "" where nothing known is like it."""
    close = get_close_matches(word, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def readable_paths(value: object) -> tuple[AttributePath, ...]:
    """The paths of a text or a list of texts. Raises ValueError for others, and for what is never read."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("attributes is no path or list of paths; write one, such as Manufacturer")
    paths = tuple(path for text in texts for path in parse_paths(text))
    for path in paths:
        _refuse_identifying(path)
    return paths


def _refuse_identifying(path: AttributePath) -> None:
    """Raise ValueError where a path meets what may identify a patient, or words of unrelated concepts."""
    for step in path.steps:
        identifying = step.tag >> 16 == 0x0010 and step.tag not in _ALLOWED_OF_PATIENT
        if identifying or step.tag in _NEVER_READ or (not step.creator and _vr(step.tag) == "PN"):
            raise ValueError(
                f"{path.text} may identify a patient, or holds words of other concepts; take another one"
            )


def parse_pattern(kind: str, value: object) -> Pattern:
    """The pattern `kind` = `value` of a marker file. Raises ValueError with a reason fit to be shown."""
    if kind == "present":
        if value is not True:
            raise ValueError("present can only be true; leave it out, or write another pattern")
        return Pattern(kind, (), lambda text: text or None)
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not words:
        raise ValueError(f"{kind} is nothing to look for; write a text or a list of texts")
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise ValueError(f"{kind} has an empty text; write a text or a list of texts, none of them empty")
    return Pattern(kind, tuple(words), _MAKERS[kind](tuple(words)))


def _cut(value: str, word: str) -> bool:
    """Whether `value` is `word` cut to the longest CS or SH (16), or LO (64)."""
    return len(value) in (16, 64) and word.startswith(value)


def _equals(words: tuple[str, ...]) -> Callable[[str], str | None]:
    known = tuple(word.casefold() for word in words)

    def find(value: str) -> str | None:
        folded = value.casefold()
        return value if any(folded == word or _cut(folded, word) for word in known) else None

    return find


def _prefix(words: tuple[str, ...]) -> Callable[[str], str | None]:
    known = tuple(word.casefold() for word in words)

    def find(value: str) -> str | None:
        folded = value.casefold()
        for word in known:
            if folded.startswith(word) or _cut(folded, word):
                return value[: len(word)]
        return None

    return find


def _token(words: tuple[str, ...]) -> Callable[[str], str | None]:
    alternatives = "|".join(
        r"[\s_.-]*".join(re.escape(part) for part in word.split())
        for word in sorted(words, key=len, reverse=True)
    )
    return _searcher(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])")


def _regex(words: tuple[str, ...]) -> Callable[[str], str | None]:
    return _searcher(_joined(words))


def _words(words: tuple[str, ...]) -> Callable[[str], str | None]:
    return _searcher(_joined(words), _BLANKS)


def _joined(words: tuple[str, ...]) -> str:
    for word in words:
        if len(word) > _MAX_REGEX:
            raise ValueError(
                f"a regular expression of {len(word)} characters; write at most {_MAX_REGEX} characters each"
            )
        try:
            refuse_endless(word, MAX_INPUT)
        except re.error as problem:
            raise _no_regex(problem) from problem
    return "|".join(f"(?:{word})" for word in words)


def _no_regex(problem: re.error) -> ValueError:
    return ValueError(f"no regular expression: {problem}; write one of Python's module re")


def _searcher(expression: str, letters: Mapping[int, int] | None = None) -> Callable[[str], str | None]:
    """A search for `expression`, with `letters` of the value taken for others of the same number."""
    try:
        compiled = re.compile(expression, re.IGNORECASE)
    except re.error as problem:
        raise _no_regex(problem) from problem

    def find(value: str) -> str | None:
        text = value[:MAX_INPUT]
        found = compiled.search(text.translate(letters) if letters else text)
        return text[found.start() : found.end()] or None if found else None

    return find


_MAKERS: Mapping[str, Callable[[tuple[str, ...]], Callable[[str], str | None]]] = {
    "equals": _equals,
    "code": _equals,
    "prefix": _prefix,
    "token": _token,
    "words": _words,
    "regex": _regex,
}
