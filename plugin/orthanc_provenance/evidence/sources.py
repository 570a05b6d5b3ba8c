"""Whether an object names an acquisition, or other objects, that its pixels were made from.

PS3.3 sections C.12.4 (General Reference) and C.7.6.16.2.6 (Derivation Image). Compression is no making: an
object that names only itself before compression, or only compression as its derivation, names no source.
Referenced Image Sequence (0008,1140) relates objects without saying that one was made from the other.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..dicom.dataset import Dataset
from ..dicom.header import Header

_SOP_INSTANCE = 0x00080018
_REFERENCED_INSTANCE = 0x00081155
_SOURCE_IMAGES = 0x00082112
_SOURCE_INSTANCES = 0x00420013
_DERIVATION_CODES = 0x00089215
_DERIVATION_IMAGES = 0x00089124
_PURPOSE = 0x0040A170
_CODE_VALUE = 0x00080100
_FUNCTIONAL_GROUPS = (0x52009229, 0x52009230)
_MAX_ITEMS = 64
# CID 7202: the same image uncompressed, or before a further lossy compression.
_PREDECESSORS = frozenset({"121320", "121330"})
# CID 7203 lossy compression, and what DCMTK writes for a lossless one: full fidelity image.
_COMPRESSION = frozenset({"113040", "121327", ""})


def has_sources(header: Header) -> bool:
    """Whether `header`, or the functional groups of its first frame, name sources. Raises HeaderTooLarge."""
    return any(_names_sources(place) for place in _places(header))


def is_own_source(header: Header) -> bool:
    """Whether the object names itself as what it was made from. Raises HeaderTooLarge.

    Pixels that were materially changed owe a new SOP Instance UID (PS3.3 section C.7.6.1.1.2): an object that
    names its own took another's identity, or was overwritten. Naming oneself before compression is not that.
    """
    own = header.text(_SOP_INSTANCE)
    return bool(own) and any(
        own == item.text(_REFERENCED_INSTANCE)
        for place in _places(header)
        for item in (*_source_images(place), *place.items(_SOURCE_INSTANCES, _MAX_ITEMS))
    )


def _places(header: Header) -> Iterator[Dataset]:
    """Where sources are named: the top level, and the derivations of the shared and of the first frame."""
    yield header
    for groups in _FUNCTIONAL_GROUPS:
        for item in header.items(groups, 1):
            yield from item.items(_DERIVATION_IMAGES, _MAX_ITEMS)


def _names_sources(dataset: Dataset) -> bool:
    derivations = _derivations(dataset)
    if derivations - _COMPRESSION:
        return True
    return bool(dataset.items(_SOURCE_INSTANCES, 1) or _source_images(dataset))


def _derivations(dataset: Dataset) -> set[str]:
    return {code.text(_CODE_VALUE) for code in dataset.items(_DERIVATION_CODES, _MAX_ITEMS)}


def _source_images(dataset: Dataset) -> list[Dataset]:
    """The source images of `dataset`, without those that it was before it was compressed."""
    items = dataset.items(_SOURCE_IMAGES, _MAX_ITEMS)
    if not items:
        return []
    derivations = _derivations(dataset)
    ignored = _PREDECESSORS | {""} if derivations and derivations <= _COMPRESSION else _PREDECESSORS
    return [item for item in items if _purpose(item) not in ignored]


def _purpose(item: Dataset) -> str:
    return next((code.text(_CODE_VALUE) for code in item.items(_PURPOSE, 1)), "")
