"""The curve that linear windows are bent into is that of the standard, whatever the pictures are like."""

from __future__ import annotations

import math
from io import BytesIO

import pytest
from PIL import Image

from orthanc_provenance.doors.sigmoid import bend, windows
from orthanc_provenance.errors import NotEncodable

CENTER, WIDTH = 40.0, 400.0
VALUES = range(-800, 900)


def render(center: float, width: float, *, inverted: bool = False, mode: str = "L") -> bytes:
    """All `VALUES` in one row as Orthanc renders them: linear-exact (PS3.3 C.11.2.1.3.2), in 8 bits."""
    image = Image.new("L", (len(VALUES), 1))
    for place, value in enumerate(VALUES):
        shown = min(max((value - center) / width + 0.5, 0.0), 1.0) * 255
        image.putpixel((place, 0), int(255 - shown if inverted else shown))
    out = BytesIO()
    image.convert(mode).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("inverted", [False, True])
def test_the_picture_follows_the_sigmoid_of_the_standard(inverted: bool) -> None:
    made = bend([render(*window, inverted=inverted) for window in windows(CENTER, WIDTH)])
    image = Image.open(BytesIO(made))
    for place, value in enumerate(VALUES):
        wanted = 255 / (1 + math.exp(-4 * (value - CENTER) / WIDTH))
        assert abs(image.getpixel((place, 0)) - (255 - wanted if inverted else wanted)) < 2.5  # type: ignore[operator]


def test_colours_stay_as_they_are() -> None:
    colours = render(0.0, 100.0, mode="RGB")
    assert bend([colours] * len(windows(CENTER, WIDTH))) == colours


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(NotEncodable):
        bend([b"no picture"])
