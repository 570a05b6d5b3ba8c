"""From a rendered frame to the picture that is asked for (PS3.18 sections 8.3.5.1 and 8.7.4)."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from werkzeug.exceptions import BadRequest

from ..errors import NotEncodable
from .banner import Label, strip
from .negotiate import JPEG

MAX_SIDE = 8192
MAX_ENLARGED = 1 << 24
"""Up to so many pixels a picture is enlarged; one that has more by itself keeps them."""

MAX_STORED = 1 << 26
"""No frame of more pixels is rendered: the archive would hold all of them in memory, several times."""

DEFAULT_QUALITY = 90
_NUMBER = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?")
_LINEAR, _EXACT, _SIGMOID = "linear", "linear-exact", "sigmoid"


@dataclass(frozen=True, slots=True)
class Asked:
    """How a picture is wanted: window (center and width), box to fit into, region in pixels or fractions.

    `bent` where the function of the window is SIGMOID and not linear-exact.
    """

    window: tuple[float, float] | None = None
    bent: bool = False
    box: tuple[int, int] | None = None
    pixels: tuple[float, float, float | None, float | None] | None = None
    fractions: tuple[float, float, float, float] | None = None
    quality: int = DEFAULT_QUALITY


def read_asked(arguments: Mapping[str, str], default: tuple[int, int] | None = None) -> Asked:
    """The query parameters of a rendered resource; `default` is the box where none is given.

    Raises BadRequest, naming the parameter and what it must be.
    """
    unknown = set(arguments) - {"window", "viewport", "quality", "accept"}
    if unknown:
        name = sorted(unknown)[0][:32]
        raise BadRequest(f"unknown parameter {name!r}; supported are window, viewport, quality and accept")
    box, pixels = _viewport(arguments["viewport"]) if "viewport" in arguments else (default, None)
    window, bent = _window(arguments["window"]) if "window" in arguments else (None, False)
    return Asked(
        window=window,
        bent=bent,
        box=box,
        pixels=pixels,
        quality=read_whole("quality", arguments.get("quality", str(DEFAULT_QUALITY)), 1, 100),
    )


def read_whole(name: str, text: str, low: int, high: int) -> int:
    """The whole number of a parameter. Raises BadRequest."""
    if not re.fullmatch("[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise BadRequest(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def read_number(name: str, text: str) -> float:
    """The number of a parameter. Raises BadRequest."""
    if not _NUMBER.fullmatch(text):
        raise BadRequest(f"{name} must be a number such as 40 or -1.5")
    return float(text)


def side_to_render(width: int, height: int, asked: Asked) -> int | None:
    """The longer side to render a frame of this size with, None for its own: it is never enlarged there.

    Raises NotEncodable for a frame without pixels or with more than `MAX_STORED`.
    """
    if not 0 < width * height <= MAX_STORED:
        raise NotEncodable(f"a frame of {width} x {height} pixels is not rendered")
    if asked.pixels or asked.fractions:
        return None
    side = max(_fitted_size((width, height), asked.box))
    return side if side < max(width, height) else None


def picture(rendered: bytes, asked: Asked, label: Label | None, media_type: str) -> bytes:
    """The picture in `media_type` from a `rendered` frame (PNG), with its label. Raises NotEncodable."""
    try:
        image: Image.Image = Image.open(io.BytesIO(rendered))
        if image.width * image.height > MAX_STORED:
            raise NotEncodable("the picture that Orthanc has rendered is too large")
        image.load()
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as problem:
        raise NotEncodable("the picture that Orthanc has rendered cannot be read") from problem
    image = _cut(image if image.mode in ("L", "RGB") else image.convert("RGB"), asked)
    image = _fitted(image, asked.box) if label is None else _labelled(image, asked.box, label)
    out = io.BytesIO()
    if media_type == JPEG:
        image.save(out, "JPEG", quality=asked.quality, **({"xmp": label.xmp} if label else {}))
    else:
        notes = PngInfo()
        if label is not None:
            notes.add_itxt("XML:com.adobe.xmp", label.xmp.decode("utf-8"))
        image.save(out, "PNG", pnginfo=notes, compress_level=3)
    return out.getvalue()


def _cut(image: Image.Image, asked: Asked) -> Image.Image:
    """The region that is asked for. Raises BadRequest where nothing of the picture lies in it."""
    width, height = image.size
    if asked.fractions is not None:
        x0, y0, x1, y1 = asked.fractions
        left, top, right, bottom = (
            round(x0 * width),
            round(y0 * height),
            round(x1 * width),
            round(y1 * height),
        )
        mirror = flip = False
    elif asked.pixels is not None:
        x, y, wide, high = asked.pixels
        left, top = round(x), round(y)
        right = width if wide is None else min(width, left + round(abs(wide)))
        bottom = height if high is None else min(height, top + round(abs(high)))
        mirror, flip = (wide or 0) < 0, (high or 0) < 0
    else:
        return image
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise BadRequest(f"the region lies outside of the picture of {width} x {height} pixels")
    image = image.crop((left, top, right, bottom))
    image = ImageOps.mirror(image) if mirror else image
    return ImageOps.flip(image) if flip else image


def _fitted(image: Image.Image, box: tuple[int, int] | None) -> Image.Image:
    """Scaled to fill `box` in one direction at least, its proportions kept (PS3.18 section 8.3.5.1.3)."""
    size = _fitted_size(image.size, box)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _fitted_size(size: tuple[int, int], box: tuple[int, int] | None) -> tuple[int, int]:
    """Width and height within `box`, and within `MAX_ENLARGED` where they grow."""
    if box is None:
        return size
    width, height = size
    scale = min(box[0] / width, box[1] / height)
    if scale > 1:
        scale = min(scale, max(1.0, math.sqrt(MAX_ENLARGED / (width * height))))
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))


def _labelled(image: Image.Image, box: tuple[int, int] | None, label: Label) -> Image.Image:
    """The picture below its strip, both within `box` as long as that has room for the letters."""
    above = strip(label, _fitted_size(image.size, box)[0], box)
    image = _fitted(image, box and (box[0], max(1, box[1] - above.height)))
    width = max(image.width, above.width)
    found = Image.new("RGB", (width, image.height + above.height))
    found.paste(above.drawn(width), (0, 0))
    found.paste(image, ((width - image.width) // 2, above.height))
    return found


def _window(text: str) -> tuple[tuple[float, float], bool]:
    """Center and width as Orthanc means them, which is the function linear-exact (PS3.3 C.11.2.1.3.2).

    And whether the function is another, SIGMOID, with the same center and width.
    """
    center, width, function = (*text.split(","), "", "", "")[:3]
    if text.count(",") != 2 or function.lower() not in (_LINEAR, _EXACT, _SIGMOID):
        raise BadRequest(
            f"window must be center,width,function with {_LINEAR}, {_EXACT} or {_SIGMOID}, as 40,400,linear"
        )
    found = read_number("the center of window", center), read_number("the width of window", width)
    if found[1] < 1:
        raise BadRequest("the width of window must be at least 1")
    if function.lower() == _LINEAR and found[1] > 1:
        found = (found[0] - 0.5, found[1] - 1)
    return found, function.lower() == _SIGMOID


def _viewport(
    text: str,
) -> tuple[tuple[int, int], tuple[float, float, float | None, float | None] | None]:
    """Width and height of the box, and the region: its corner, and its size, negative where mirrored."""
    values = text.split(",")
    if len(values) not in (2, 6):
        raise BadRequest("viewport must be vw,vh or vw,vh,sx,sy,sw,sh, as 512,512 or 512,512,0,0,100,100")
    box = (
        read_whole("the width of viewport", values[0], 1, MAX_SIDE),
        read_whole("the height of viewport", values[1], 1, MAX_SIDE),
    )
    if len(values) == 2:
        return box, None
    corner = [read_number("the corner in viewport", value) if value else 0.0 for value in values[2:4]]
    size = [read_number("the size in viewport", value) if value else None for value in values[4:]]
    return box, (corner[0], corner[1], size[0], size[1])
