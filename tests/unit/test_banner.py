"""The visible label of a picture: legible at any size, above the picture, and in its metadata."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from orthanc_provenance.doors.banner import LABELS, strip
from orthanc_provenance.doors.pictures import Asked, picture
from orthanc_provenance.model import Origin

SOURCE_TYPES = {
    Origin.AI_GENERATED: "trainedAlgorithmicMedia",
    Origin.SIMULATED: "algorithmicMedia",
    Origin.AI_DERIVED: "compositeWithTrainedAlgorithmicMedia",
}
TEXTS = {
    Origin.AI_GENERATED: "SYNTHETIC, AI-GENERATED",
    Origin.SIMULATED: "SYNTHETIC, SIMULATED",
    Origin.AI_DERIVED: "AI-DERIVED",
}
WHOLE = Asked()
SIZES = ((512, 512), (256, 256), (128, 100), (64, 64), (41, 41), (8, 8), (300, 20), (20, 300), (1, 1))


def rendered(size: tuple[int, int], mode: str = "L") -> bytes:
    out = BytesIO()
    Image.new(mode, size, 77 if mode == "L" else (77, 77, 77)).save(out, "PNG")
    return out.getvalue()


def made(
    size: tuple[int, int], origin: Origin | None, asked: Asked = WHOLE, form: str = "png"
) -> Image.Image:
    label = LABELS[origin] if origin else None
    return Image.open(BytesIO(picture(rendered(size), asked, label, f"image/{form}")))


def test_only_what_is_synthetic_or_ai_derived_has_a_label() -> None:
    assert LABELS.keys() == SOURCE_TYPES.keys()
    assert {origin: label.texts[0][0] for origin, label in LABELS.items()} == TEXTS


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("origin", LABELS)
def test_no_pixel_of_the_picture_is_covered(size: tuple[int, int], origin: Origin) -> None:
    found = made(size, origin)
    gray = sum(1 for pixel in found.convert("RGB").get_flattened_data() if pixel == (77, 77, 77))
    assert gray == size[0] * size[1]
    assert found.height > size[1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("origin", LABELS)
def test_the_letters_are_of_a_legible_size_and_all_there(size: tuple[int, int], origin: Origin) -> None:
    found = strip(LABELS[origin], size[0], None)
    assert found.size >= 10
    assert " ".join(found.lines).replace("- ", "-") == TEXTS[origin]
    drawn = found.drawn(max(size[0], found.width))
    ink = [x for x in range(drawn.width) for y in range(drawn.height) if sum(drawn.getpixel((x, y))) < 150]  # type: ignore[arg-type]
    assert ink
    assert min(ink) > 0
    assert max(ink) < drawn.width - 1


@pytest.mark.parametrize("box", [(256, 256), (128, 128), (64, 64), (40, 40), (300, 100), (100, 300)])
@pytest.mark.parametrize("origin", LABELS)
def test_picture_and_strip_fit_into_the_viewport(box: tuple[int, int], origin: Origin) -> None:
    found = made((512, 400), origin, Asked(box=box))
    assert found.width <= box[0]
    assert found.height <= box[1]
    assert (
        sum(1 for pixel in found.convert("RGB").get_flattened_data() if pixel == (77, 77, 77)) * 4
        > found.width * found.height
    )


@pytest.mark.parametrize("form", ["png", "jpeg"])
@pytest.mark.parametrize("origin", LABELS)
def test_the_metadata_name_the_digital_source_type(origin: Origin, form: str) -> None:
    xmp = made((64, 64), origin, form=form).info["xmp"]
    text = xmp.decode() if isinstance(xmp, bytes) else xmp
    term = f"http://cv.iptc.org/newscodes/digitalsourcetype/{SOURCE_TYPES[origin]}<"
    assert f"<Iptc4xmpExt:DigitalSourceType>{term}" in text


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_a_picture_without_a_label_is_as_it_was_rendered(form: str) -> None:
    found = made((64, 48), None, form=form)
    assert (found.size, found.mode) == ((64, 48), "L")
    assert "xmp" not in found.info
    assert set(found.get_flattened_data()) == {77}
