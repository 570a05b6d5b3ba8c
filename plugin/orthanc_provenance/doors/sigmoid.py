"""The VOI LUT function SIGMOID (PS3.3 section C.11.2.1.3.1), which Orthanc does not render itself.

Orthanc renders linear windows of eight bits. Some of them side by side over three times the width, where the
curve has come to its ends, add up to what lies between, fine enough to bend.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageMath, UnidentifiedImageError

from ..errors import NotEncodable

_PARTS = 4
_SPAN = 3.0
_TOP = 255
_BAND = 1 << 18  # Pixels that are added up at once: sums take four times the memory of pictures, and more.
_TABLE = 1 << 16  # As many values as Pillow wants for pictures of more than eight bits.


def windows(center: float, width: float) -> list[tuple[float, float]]:
    """Center and width of the linear windows (linear-exact) that `bend` needs."""
    part = _SPAN * width / _PARTS
    first = center - _SPAN * width / 2
    return [(first + (number + 0.5) * part, part) for number in range(_PARTS)]


def bend(rendered: Sequence[bytes]) -> bytes:
    """The picture (PNG) of what was rendered with each of `windows`; colours, which have no window, stay.

    Raises NotEncodable where one cannot be read.
    """
    try:
        images = [Image.open(io.BytesIO(data)) for data in rendered]
        if any(image.mode != "L" for image in images):
            return rendered[0]
        found = Image.new("L", images[0].size)
        height = max(1, _BAND // found.width)
        for top in range(0, found.height, height):
            band = (0, top, found.width, min(top + height, found.height))
            found.paste(_sum([image.crop(band) for image in images]).point(_curve(), "L"), band)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as problem:
        raise NotEncodable("a picture that Orthanc has rendered cannot be read") from problem
    out = io.BytesIO()
    found.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _sum(parts: Sequence[Image.Image]) -> Image.Image:
    """The sums of the pixels, of 32 bits."""
    named = {f"part{number}": part for number, part in enumerate(parts)}
    total: Image.Image = ImageMath.lambda_eval(lambda given: sum((given[name] for name in named), 0), **named)
    return total


@cache
def _curve() -> list[int]:
    """The output by the sum of the parts; where they are inverted (MONOCHROME1), the curve is so too."""
    top = _TOP * _PARTS
    return [
        round(_TOP / (1 + math.exp(-4 * _SPAN * (min(value, top) / top - 0.5)))) for value in range(_TABLE)
    ]
