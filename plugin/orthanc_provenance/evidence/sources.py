"""Whether an object names an acquisition, or other objects, that its pixels were made from.

PS3.3 sections C.12.4 (General Reference) and C.7.6.16.2.6 (Derivation Image). Compression is no making: an
object that names only itself before compression, or only compression as its derivation, names no source.
Referenced Image Sequence (0008,1140) relates objects without saying that one was made from the other.
"""

from __future__ import annotations

from ..dicom.dataset import Dataset
from ..dicom.header import Header

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
    """Whether `header`, or the functional groups of its first frame, name sources. Never raises."""
    if _names_sources(header):
        return True
    return any(
        _names_sources(derivation)
        for groups in _FUNCTIONAL_GROUPS
        for item in header.items(groups, 1)
        for derivation in item.items(_DERIVATION_IMAGES, _MAX_ITEMS)
    )


def _names_sources(dataset: Dataset) -> bool:
    derivations = {code.text(_CODE_VALUE) for code in dataset.items(_DERIVATION_CODES, _MAX_ITEMS)}
    if derivations - _COMPRESSION:
        return True
    if dataset.items(_SOURCE_INSTANCES, 1):
        return True
    purposes = [_purpose(item) for item in dataset.items(_SOURCE_IMAGES, _MAX_ITEMS)]
    if derivations:
        purposes = [purpose for purpose in purposes if purpose]
    return any(purpose not in _PREDECESSORS for purpose in purposes)


def _purpose(item: Dataset) -> str:
    return next((code.text(_CODE_VALUE) for code in item.items(_PURPOSE, 1)), "")
