"""One image at a time: a single-frame instance, or a frame of a multi-frame one with what its functional groups say.

PS3.3 C.7.6.16: a per-frame functional group overrides the shared one, and both override the top level. Frames are
ordered by where they lie, never by their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shadow.index_test.instance import Instance

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
MACROS = (
    "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "FrameVOILUTSequence", "FrameAnatomySequence",
    "FrameContentSequence", "CTReconstructionSequence", "CTAcquisitionDetailsSequence",
    "CTXRayDetailsSequence", "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)  # fmt: skip
MAXIMUM_FRAMES = 20_000
_PER_FRAME = 0x52009230  # the same sequence by its tag


@dataclass(frozen=True, slots=True)
class Frame:
    """One image.

    Attributes:
        instance: the instance that it is part of.
        index: its place among the instance's frames, from 0.
        frames: how many the instance has.
        groups: items of functional groups that speak for this frame, the per-frame ones first.
    """

    instance: Instance
    index: int = 0
    frames: int = 1
    groups: tuple[Instance, ...] = ()

    def _holder(self, keyword: str) -> Instance:
        return next((one for one in self.groups if one.raw(keyword) is not None), self.instance)

    def raw(self, keyword: str) -> bytes | None:
        """The value's bytes; None where the element is absent."""
        return self._holder(keyword).raw(keyword)

    def text(self, keyword: str) -> str:
        """The value as text without padding; empty where absent."""
        return self._holder(keyword).text(keyword)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of a multi-valued text element. Image Type is the frame's own Frame Type where it has one."""
        if keyword == "ImageType" and self.groups:
            own = self._holder("FrameType").texts("FrameType")
            if own:
                return own
        return self._holder(keyword).texts(keyword)

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """The values of a numeric element; empty where absent, empty or not numeric."""
        return self._holder(keyword).numbers(keyword)

    def number(self, keyword: str) -> float | None:
        """The first value of a numeric element, or None."""
        return self._holder(keyword).number(keyword)

    def items(self, keyword: str) -> tuple[Instance, ...]:
        """The items of a sequence; empty where absent."""
        return self._holder(keyword).items(keyword)


def frames_of(instances: Sequence[Instance]) -> list[Frame]:
    """Every image of these instances."""
    return [frame for instance in instances for frame in _frames(instance)]


def first_frame(instance: Instance) -> Frame:
    """The first image of an instance, in the order of the file."""
    return next(_frames(instance))


def count_frames(instance: Instance) -> int:
    """How many images an instance describes one by one; 1 where it describes them as one."""
    per_frame = instance.elements.get(_PER_FRAME)
    return max(len(per_frame.items or []), 1) if per_frame is not None else 1


def _frames(instance: Instance) -> Iterator[Frame]:
    per_frame = instance.items(PER_FRAME)
    if not per_frame:
        yield Frame(instance)
        return
    shared = [group for item in instance.items(SHARED)[:1] for group in _groups(item)]
    count = min(len(per_frame), MAXIMUM_FRAMES)
    for index, item in enumerate(per_frame[:count]):
        yield Frame(instance, index, count, (*_groups(item), *shared))


def _groups(item: Instance) -> list[Instance]:
    return [one for macro in MACROS for one in item.items(macro)[:1]]
