"""The visible label of a picture: what is not a plain acquisition says so, to people and to programs.

People read a strip above the picture, which covers nothing of it. Programs read IPTC's Digital Source Type in
an XMP packet (IPTC Photo Metadata Standard 2023.1; XMP is ISO 16684-1). DICOM objects carry neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from ..model import Origin

_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_BACKGROUND, _INK = (255, 204, 0), (0, 0, 0)
_MARGIN = 2
_SMALLEST, _LARGEST = 10, 64
_PER_WIDTH = 26
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Label:
    """What a strip says, in ever fewer letters, by lines, and the term of IPTC's Digital Source Type."""

    texts: tuple[tuple[str, ...], ...]
    source_type: str

    @property
    def xmp(self) -> bytes:
        """The XMP packet that says the same."""
        return _XMP.format(_SOURCE_TYPES + self.source_type).encode("utf-8")


LABELS = {
    Origin.AI_GENERATED: Label(
        (("SYNTHETIC, AI-GENERATED",), ("SYNTHETIC,", "AI-GENERATED"), ("AI-GEN",)), "trainedAlgorithmicMedia"
    ),
    Origin.SIMULATED: Label(
        (("SYNTHETIC, SIMULATED",), ("SYNTHETIC,", "SIMULATED"), ("SIM",)), "algorithmicMedia"
    ),
    Origin.AI_DERIVED: Label(
        (("AI-DERIVED",), ("AI-", "DERIVED"), ("AI-DER",)), "compositeWithTrainedAlgorithmicMedia"
    ),
}
"""The labels by origin; what is not here carries none."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A text in letters of `size` pixels, `width` and `height` pixels large."""

    lines: tuple[str, ...]
    size: int
    width: int
    height: int

    def drawn(self, width: int) -> Image.Image:
        """The strip in the middle of `width` pixels, which must be enough for it."""
        found = Image.new("RGB", (width, self.height), _BACKGROUND)
        pen, font = ImageDraw.Draw(found), _font(self.size)
        line_height = (self.height - _MARGIN) // len(self.lines)
        for number, line in enumerate(self.lines):
            left = (width - font.getbbox(line)[2]) / 2
            pen.text((left, number * line_height), line, fill=_INK, font=font)
        return found


def strip(label: Label, width: int, box: tuple[int, int] | None) -> Strip:
    """The strip for a picture of this width, which must fit into `box` together with it, where there is one.

    A text in fewer letters is only taken where the box leaves no room: the strip takes at most half of its
    height. It may be wider than the picture, and in a box too small for the shortest text wider than that.
    """
    size = min(max(width // _PER_WIDTH, _SMALLEST), _LARGEST)
    if box is None:
        whole = _strip(label.texts[0], size)
        return whole if whole.width <= width else _strip(label.texts[1], _SMALLEST)
    for lines in label.texts:
        found = _strip(lines, size)
        if found.width <= box[0] and 2 * found.height <= box[1]:
            return found
    return _strip(label.texts[-1], _SMALLEST)


def _strip(lines: tuple[str, ...], size: int) -> Strip:
    boxes = [_font(size).getbbox(line) for line in lines]
    line_height = math.ceil(max(box[3] for box in boxes)) + _MARGIN
    width = math.ceil(max(box[2] for box in boxes)) + 2 * _MARGIN
    return Strip(lines, size, width, line_height * len(lines) + _MARGIN)


@lru_cache(maxsize=_LARGEST)
def _font(size: int) -> Font:
    """The scalable font that Pillow brings along: nothing has to be installed on the server."""
    return ImageFont.load_default(size)
