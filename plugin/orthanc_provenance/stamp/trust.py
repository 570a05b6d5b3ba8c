"""Whether a stamp is to be believed: what its block says, what was signed, and what the object holds.

What was signed is compared with the value of every element of the block as it stands there, so that no word
of it can be changed unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from securesystemslib.signer import SSlibKey

from ..dicom.dataset import tag_name
from ..dicom.header import Header
from ..dicom.scan import Tag
from ..errors import StatementError
from .block import (
    CATALOGUE_REVISION,
    CREATOR,
    DECLARATION_URI,
    EVIDENCE,
    GROUP,
    LABELLED,
    MODIFIERS,
    NO_PRIVACY,
    ORIGIN,
    PIXEL_DIGEST,
    PRIVACY,
    SIGNED_STATEMENT,
    STATE,
    BlockElement,
    Stamp,
    block_tag,
    block_tags,
)
from .statement import DATA_SET, PIXELS, Statement, Subject, key_of, open_envelope, read_statement, verify


class Word(StrEnum):
    """How a stamp stands, from best to worst but for `NONE`, which says that there is none."""

    VALID = "valid"
    UNTRUSTED = "untrusted"
    ALTERED = "altered"
    NONE = "none"


PIXELS_ALTERED = "pixels"
CONTENT_ALTERED = "content"
STAMP_ALTERED = "stamp"
_AMBIGUOUS = "tags repeat or descend: readers disagree about what it says"


@dataclass(frozen=True, slots=True)
class Standing:
    """How one stamp stands, and why.

    `altered` holds what was changed since it was signed: `pixels`, `content` (the data set of an object
    without pixels), `stamp`. `statement` is what was signed, None where that cannot be read, and `signed`
    whether a trusted key signed it; `key_id` is the key that it names. It may only be believed where `word`
    is `VALID`.
    """

    word: Word
    reasons: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    statement: Statement | None = None
    signed: bool = False
    key_id: str = ""


NO_STAMP = Standing(Word.NONE, ("there is no stamp",))


class TrustedKeys:
    """The public keys whose statements are believed, by where they come from.

    Read and replaced from any thread: a set of keys is never changed, only put in place of another.
    """

    def __init__(self, own: Iterable[SSlibKey] = ()) -> None:
        self._own = {key.keyid: key for key in own}
        self._foreign: Mapping[str, Mapping[str, SSlibKey]] = {}

    def put(self, source: str, keys: Iterable[SSlibKey]) -> None:
        """Trust `keys`, and no others that came from `source` before."""
        self._foreign = {**self._foreign, source: {key.keyid: key for key in keys}}

    def is_own(self, key_id: str) -> bool:
        """Whether the key is one of this gateway, its retired ones included."""
        return key_id in self._own

    @property
    def foreign(self) -> list[str]:
        """The ids of the keys of other gateways that are trusted now."""
        return sorted({key_id for keys in self._foreign.values() for key_id in keys})

    def find(self, key_id: str) -> SSlibKey | None:
        """The trusted key with this id."""
        sources = (self._own, *self._foreign.values())
        return next((keys[key_id] for keys in sources if key_id in keys), None)

    def check(self, header: Header, stamp: Stamp | None, subject: Subject | None) -> Standing:
        """How `stamp`, read from `header`, stands; `subject` is that of the object as it is now.

        Without `subject`, where the pixels have not been looked at yet, no stamp is valid. Never raises.
        """
        if stamp is None:
            return NO_STAMP
        if not header.ordered:
            return Standing(Word.ALTERED, (_AMBIGUOUS,), (STAMP_ALTERED,))
        if not stamp.statement:
            altered = _altered_pixels(stamp.pixel_digest, subject)
            reasons = (*altered.values(), "the stamp is not signed: it is the claim of whoever wrote it")
            return Standing(Word.ALTERED if altered else Word.UNTRUSTED, reasons, tuple(altered))
        return self._check_statement(header, stamp, subject)

    def _check_statement(self, header: Header, stamp: Stamp, subject: Subject | None) -> Standing:
        try:
            envelope = open_envelope(stamp.statement)
            statement = read_statement(envelope.payload)
        except StatementError as problem:
            return Standing(Word.ALTERED, (str(problem),), (STAMP_ALTERED,))
        key_id, reasons = key_of(envelope), list(_differences(header, stamp, statement))
        key = self.find(key_id)
        signed = key is not None and verify(envelope, key)
        if key is not None and not signed:
            reasons.insert(0, f"the signature is not that of the key {key_id} that it names")
        altered = dict.fromkeys([STAMP_ALTERED], "") if reasons else {}
        moved = _altered_subject(statement.subject, subject)
        reasons += moved.values()
        altered.update(moved)
        if key is None:
            reasons.append(f"it is signed with the key {key_id}, which is not among the trusted ones")
        if subject is None:
            reasons.append("its pixels have not been compared yet")
        word = Word.ALTERED if altered else Word.UNTRUSTED if reasons else Word.VALID
        return Standing(word, tuple(reasons), tuple(altered), statement, signed, key_id)


NO_KEYS = TrustedKeys()


def _differences(header: Header, stamp: Stamp, statement: Statement) -> Iterator[str]:
    """In which words the block differs from what was signed."""
    signed = _signed_values(statement)
    for element, value in signed.items():
        tag = block_tag(stamp.block, element.number)
        written = header.raw(tag).rstrip(b" \0")
        if written != value.encode("utf-8", "surrogatepass") or _has_items(header, tag):
            yield f"{element.name} {tag_name(tag)} is not what was signed"
    creator = (GROUP << 16) | stamp.block
    if header.raw(creator).strip(b" \0") != CREATOR.encode("ascii"):
        yield f"Private Creator {tag_name(creator)} says more than that the block is one of a stamp"
    known = {block_tag(stamp.block, element.number) for element in (*signed, SIGNED_STATEMENT)}
    for tag in sorted(header.elements.keys() & set(block_tags(stamp.block)) - known):
        yield f"{tag_name(tag)} was not there when it was signed: no stamp has such an element"
    if statement.state.origin is not statement.origin:
        yield "the state that was signed belongs to another origin"


def _has_items(header: Header, tag: Tag) -> bool:
    """Whether the element holds Items, and so what `Dataset.raw` does not give."""
    element = header.elements.get(tag)
    return element is not None and (element.undefined or element.vr == b"SQ")


def _signed_values(statement: Statement) -> dict[BlockElement, str]:
    subject = statement.subject
    return {
        STATE: statement.state.value,
        ORIGIN: statement.origin.value,
        PRIVACY: "\\".join(statement.privacy or (NO_PRIVACY,)),
        LABELLED: "YES" if statement.labelled else "NO",
        MODIFIERS: "\\".join(statement.modifiers),
        EVIDENCE: "\\".join(statement.evidence),
        CATALOGUE_REVISION: statement.catalogue_revision,
        PIXEL_DIGEST: subject.digest if subject.name == PIXELS else "",
        DECLARATION_URI: statement.declaration_uri,
    }


def _altered_subject(signed: Subject, subject: Subject | None) -> dict[str, str]:
    if subject is None or signed == subject:
        return {}
    if subject.name == DATA_SET and signed.name == DATA_SET:
        return {CONTENT_ALTERED: "the data set, which has no pixels, is not the one that was signed"}
    return {PIXELS_ALTERED: "the pixels are not those that were signed"}


def _altered_pixels(digest: str, subject: Subject | None) -> dict[str, str]:
    """For a stamp without statement, which binds pixels and nothing else."""
    if subject is None or not digest or subject == (PIXELS, digest):
        return {}
    return {PIXELS_ALTERED: "the pixels are not those that the stamp names"}
