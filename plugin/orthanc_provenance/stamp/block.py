"""The private block of a stamp (PS3.5 section 7.8.1): its dictionary as data, writing it and reading it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeVar

from ..dicom.dataset import Dataset
from ..dicom.encode import NewElement
from ..dicom.scan import Tag
from ..errors import StampError
from ..model import Assessment, Modifier, Origin, State

CREATOR = "IMAGE PROVENANCE 1.0"
GROUP = 0x0099
MAX_MARKERS = 256
IDENTITY_REMOVED = "identity-removed"
DEFACED = "defaced"
NO_PRIVACY = "none"
_CREATORS = range((GROUP << 16) | 0x10, (GROUP << 16) | 0x100)
_LONG_STRING = 64
_Word = TypeVar("_Word", bound=StrEnum)


class BlockElement(NamedTuple):
    """One entry of the private dictionary: (0099,xx`number`)."""

    number: int
    vr: bytes
    vm: str
    keyword: str
    name: str


# LO, not CS, for the words: they are lower case with hyphens, and a stamp uses no synonyms.
STATE = BlockElement(0x01, b"LO", "1", "ProvenanceState", "Provenance State")
ORIGIN = BlockElement(0x02, b"LO", "1", "ProvenanceOrigin", "Provenance Origin")
PRIVACY = BlockElement(0x03, b"LO", "1-n", "ProvenancePrivacy", "Provenance Privacy")
LABELLED = BlockElement(0x04, b"CS", "1", "LabelledAsReceived", "Labelled As Received")
MODIFIERS = BlockElement(0x05, b"LO", "1-n", "ProvenanceModifiers", "Provenance Modifiers")
EVIDENCE = BlockElement(0x06, b"LO", "1-n", "EvidenceMarkers", "Evidence Markers")
CATALOGUE_REVISION = BlockElement(0x07, b"LO", "1", "CatalogueRevision", "Catalogue Revision")
# UC: `sha256:` and 64 digits are longer than the 64 characters of LO.
PIXEL_DIGEST = BlockElement(0x08, b"UC", "1", "PixelDigest", "Pixel Digest")
DECLARATION_URI = BlockElement(0x09, b"UR", "1", "DeclarationURI", "Declaration URI")
SIGNED_STATEMENT = BlockElement(0x0A, b"OB", "1", "SignedStatement", "Signed Statement")
# Stands in answers to queries only: in an object its name is where the generator wrote it.
GENERATOR = BlockElement(0x0B, b"LO", "1-n", "Generator", "Generator")
DICTIONARY = (
    STATE,
    ORIGIN,
    PRIVACY,
    LABELLED,
    MODIFIERS,
    EVIDENCE,
    CATALOGUE_REVISION,
    PIXEL_DIGEST,
    DECLARATION_URI,
    SIGNED_STATEMENT,
    GENERATOR,
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the private block of an object says. What is missing or broken there is empty or None here.

    `statement` is what was signed, without padding; without it a stamp is a claim of whoever wrote it.
    `block` is the number of the block, 0x10 to 0xFF, and makes no difference to what is said.
    """

    state: State | None = None
    origin: Origin | None = None
    identity_removed: bool = False
    defaced: bool = False
    labelled: bool = False
    modifiers: tuple[Modifier, ...] = ()
    evidence: tuple[str, ...] = ()
    catalogue_revision: str = ""
    pixel_digest: str = ""
    declaration_uri: str = ""
    statement: bytes = b""
    block: int = field(default=0, compare=False)

    @property
    def says_something(self) -> bool:
        """Whether it is one: whoever reserves a block, or fills it with anything else, states nothing."""
        return bool(self.state or self.origin or self.statement)

    def agrees_with(self, assessment: Assessment, digest: str, declaration_uri: str = "") -> bool:
        """Whether a stamp for `assessment` and the pixel digest `digest` would say the same.

        `labelled` means as received before the first stamp, and a stamp itself labels what is synthetic: so
        a stamp that says "not labelled" agrees with an assessment that finds the label. Where there is no
        `declaration_uri` to name, one that another has named stays.
        """
        return (
            self.state is assessment.state
            and self.origin is assessment.origin
            and self.identity_removed == assessment.privacy.identity_removed
            and self.defaced == assessment.privacy.defaced
            and (assessment.labelled or not self.labelled)
            and self.pixel_digest == digest
            and declaration_uri in ("", self.declaration_uri)
        )


def long_strings(values: Iterable[str]) -> bytes:
    """The values of one LO element (PS3.5 section 6.2): ASCII, the same in every character set.

    Raises StampError where a value is not ASCII, holds a backslash or control character, or is longer than
    64 characters.
    """
    texts = tuple(values)
    for text in texts:
        if not (text.isascii() and text.isprintable()) or "\\" in text or len(text) > _LONG_STRING:
            raise StampError(f"{text!r} cannot be stamped: at most 64 ASCII characters without backslash")
    return "\\".join(texts).encode("ascii")


def block_values(
    assessment: Assessment, catalogue_revision: str, digest: str, declaration_uri: str = ""
) -> Mapping[BlockElement, bytes]:
    """The encoded values of the block, without those that have nothing to say.

    At most 256 marker ids are written, in the order of the evidence and each once. Raises StampError as
    `long_strings` does, and where `declaration_uri` is none that UR can hold (PS3.5 section 6.2).
    """
    if not (declaration_uri.isascii() and declaration_uri.isprintable()) or set(declaration_uri) & set(
        ' "\\'
    ):
        raise StampError(f"{declaration_uri!r} cannot be stamped: a declaration is named by a URI (RFC 3986)")
    privacy = assessment.privacy
    flags = [
        word
        for word, is_set in ((IDENTITY_REMOVED, privacy.identity_removed), (DEFACED, privacy.defaced))
        if is_set
    ]
    markers = list(dict.fromkeys(evidence.marker for evidence in assessment.evidence))
    values = {
        STATE: assessment.state.value.encode("ascii"),
        ORIGIN: assessment.origin.value.encode("ascii"),
        PRIVACY: "\\".join(flags or [NO_PRIVACY]).encode("ascii"),
        LABELLED: b"YES" if assessment.labelled else b"NO",
        MODIFIERS: "\\".join(assessment.modifiers).encode("ascii"),
        EVIDENCE: long_strings(markers[:MAX_MARKERS]),
        CATALOGUE_REVISION: long_strings([catalogue_revision]),
        PIXEL_DIGEST: digest.encode("ascii"),
        DECLARATION_URI: declaration_uri.encode("ascii"),
    }
    return {element: value for element, value in values.items() if value}


def place_block(
    present: Container[Tag], tags: Iterable[Tag], values: Mapping[BlockElement, bytes], above: int = 0
) -> dict[Tag, NewElement]:
    """The elements of the block in the first free place of group 0099, behind its Private Creator.

    `tags` are those that are taken, `present` the same to look them up. The place is above the block `above`,
    so that the highest stamp is the latest. Raises StampError where none is free.
    """
    taken = {(tag >> 8) & 0xFF for tag in tags if tag >> 16 == GROUP}
    for creator in _CREATORS:
        block = creator & 0xFF
        if block > above and creator not in present and block not in taken:
            placed = {creator: NewElement(b"LO", CREATOR.encode("ascii"))}
            for element, value in values.items():
                placed[(GROUP << 16) | (block << 8) | element.number] = NewElement(element.vr, value)
            return placed
    place = f" above that of the stamp which the object has in block {above:02X}H" if above else ""
    raise StampError(
        f"group 0099 has no free private block for a stamp{place}; remove what is not needed from that group "
        "and send the object again"
    )


def block_tag(block: int, number: int) -> Tag:
    """The tag (0099,xx`number`) in `block`, 0x10 to 0xFF."""
    return (GROUP << 16) | (block << 8) | number


def block_tags(block: int) -> range:
    """All tags that the Private Creator of `block` reserves (PS3.5 section 7.8.1)."""
    return range(block_tag(block, 0), block_tag(block, 0x100))


def read_stamp(dataset: Dataset) -> Stamp | None:
    """What the current stamp in `dataset` says, that of the highest block; None where there is none."""
    stamps = read_stamps(dataset)
    return stamps[-1] if stamps else None


def read_stamps(dataset: Dataset) -> tuple[Stamp, ...]:
    """What the stamps in `dataset` say, in order of their blocks: one for each Private Creator of ours.

    Not where it reserves its block for nothing: an empty one at the end would leave no place for a stamp.
    """
    creators = sorted(tag for tag in dataset.private_creators if tag >> 16 == GROUP)
    blocks = (tag & 0xFF for tag in creators if dataset.text(tag) == CREATOR)
    found = (_read_block(dataset, block) for block in blocks)
    return tuple(stamp for stamp in found if stamp.says_something)


def _read_block(dataset: Dataset, block: int) -> Stamp:
    def tag(element: BlockElement) -> Tag:
        return block_tag(block, element.number)

    def texts(element: BlockElement) -> tuple[str, ...]:
        return dataset.texts(tag(element))

    privacy = texts(PRIVACY)
    return Stamp(
        state=_word(State, texts(STATE)),
        origin=_word(Origin, texts(ORIGIN)),
        identity_removed=IDENTITY_REMOVED in privacy,
        defaced=DEFACED in privacy,
        labelled=texts(LABELLED) == ("YES",),
        modifiers=tuple(modifier for modifier in Modifier if modifier.value in texts(MODIFIERS)),
        evidence=texts(EVIDENCE)[:MAX_MARKERS],
        catalogue_revision="".join(texts(CATALOGUE_REVISION)[:1]),
        pixel_digest="".join(texts(PIXEL_DIGEST)[:1]),
        declaration_uri=dataset.whole_text(tag(DECLARATION_URI)),
        statement=dataset.raw(tag(SIGNED_STATEMENT)).rstrip(b" \0"),
        block=block,
    )


def _word(words: type[_Word], values: tuple[str, ...]) -> _Word | None:
    return next((word for word in words if values == (word.value,)), None)
