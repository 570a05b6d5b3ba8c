"""What the digital signatures of an object cover (PS3.3 section C.12.1.1.3)."""

from __future__ import annotations

from collections.abc import Iterator

from ..dicom.dataset import Dataset
from ..dicom.scan import Tag
from ..errors import StampError

MAC_PARAMETERS_SEQUENCE = 0x4FFE0001
DATA_ELEMENTS_SIGNED = 0x04000020


def signed_tags(dataset: Dataset) -> frozenset[Tag]:
    """The top-level tags that signatures of `dataset` cover; none where it is not signed.

    Signatures inside Sequence Items cover only elements of their Item, which a stamp never changes. Raises
    StampError where there are signatures and it cannot be told what they cover.
    """
    if MAC_PARAMETERS_SEQUENCE not in dataset:
        return frozenset()
    return frozenset(_signed_tags(dataset))


def _signed_tags(dataset: Dataset) -> Iterator[Tag]:
    items = dataset.items(MAC_PARAMETERS_SEQUENCE)
    if not items:
        raise StampError("the object is signed, but its MAC parameters cannot be read; left as it came")
    for item in items:
        # AT: pairs of group and element number, each in the byte order of the Data Set (PS3.5 section 6.2).
        numbers = item.integers(DATA_ELEMENTS_SIGNED, size=2)
        if not numbers or len(numbers) % 2:
            raise StampError("the object is signed, but not told which elements are; left as it came")
        for group, number in zip(numbers[::2], numbers[1::2], strict=True):
            yield (group << 16) | number
