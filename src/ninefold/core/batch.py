"""What moves between data, augmentation, task and model.

Shapes: b samples, c channels, h rows, w columns, k classes, n objects in an image.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass
class Boxes:
    """The objects of one image.

    Args:
        xyxy: Corners `(x0, y0, x1, y1)` in pixels of the upright image, before or after resizing
            as the image itself.
        label: Class ids.
        masks: One mask an object, of the image's size; none where the data have only boxes.
        crowd: COCO's crowd flag; such objects are neither trained on nor counted as missed.
        area: Areas in pixels as annotated; COCO's size ranges use them.
    """

    xyxy: Float[Tensor, "n 4"]
    label: Int[Tensor, " n"]
    masks: Bool[Tensor, "n h w"] | None = None
    crowd: Bool[Tensor, " n"] | None = None
    area: Float[Tensor, " n"] | None = None


@dataclass
class Sample:
    """One decoded example, as a data set gives it and as sample transforms pass it on.

    Args:
        x: An image `(c, h, w)`, uint8; a clip `(c, t, h, w)`, in evaluation perhaps several views
            of one, `(c, v, t, h, w)`; or one tensor a modality by name. Clips may arrive as a
            reader, from which the transform draws its frames.
        y: A class id; several ids (multi-label); one id a head by name; a map of ids `(h, w)`.
        boxes: Objects, where the data have them.
        original: Height and width of the upright image before any transform, where predictions
            are told in its pixels (detection, segmentation).
        extra: What a transform tells the loss, by name; the same names in every sample.
    """

    x: Any
    y: int | tuple[int, ...] | dict[str, int] | Tensor | None = None
    boxes: Boxes | None = None
    original: tuple[int, int] | None = None
    extra: dict[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass
class Batch:
    """A batch on its way to the model.

    Args:
        x: Images `(b, c, h, w)`, clips `(b, c, t, h, w)`, or one tensor a modality by name. uint8
            as loaded; float after `engine` has normalised it.
        y: Class ids `(b,)`; soft or multi-hot targets `(b, k)`; maps of ids `(b, h, w)`; one of
            these a head by name; or nothing, for prediction.
        index: Position of each sample in its data set; -1 for a filler, which is never counted.
        boxes: One entry an image, for detection.
        size: Height and width `(b, 2)` of each image before it was padded to the batch's.
        original: Height and width `(b, 2)` of each upright image before any transform.
        extra: What a transform tells the loss or a second network, by name (which modalities are
            there, the operations an agent chose), one row a sample.
    """

    x: Tensor | dict[str, Tensor]
    y: Tensor | dict[str, Tensor] | None = None
    index: Int[Tensor, " b"] | None = None
    boxes: list[Boxes] | None = None
    size: Int[Tensor, "b 2"] | None = None
    original: Int[Tensor, "b 2"] | None = None
    extra: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def __len__(self) -> int:
        x = self.x if isinstance(self.x, Tensor) else next(iter(self.x.values()))
        return x.shape[0]

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Self:
        """The same batch with every tensor on `device`."""

        def move(value: Tensor) -> Tensor:
            return value.to(device, non_blocking=non_blocking)

        return self._map(move)

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory; the loader calls this for CUDA."""
        return self._map(Tensor.pin_memory)

    def split(self, parts: int) -> list[Self]:
        """Equal consecutive parts, for gradient accumulation; the length must divide evenly."""
        if parts == 1:
            return [self]
        step, rest = divmod(len(self), parts)
        assert rest == 0, (len(self), parts)
        return [self._rows(i * step, (i + 1) * step) for i in range(parts)]

    def _rows(self, start: int, stop: int) -> Self:
        def rows(value: Tensor) -> Tensor:
            return value[start:stop]

        return replace(self._map(rows, boxes=False), boxes=self.boxes and self.boxes[start:stop])

    def _map(self, change: Callable[[Tensor], Tensor], *, boxes: bool = True) -> Self:
        def walk(value: Any) -> Any:
            if isinstance(value, Tensor):
                return change(value)
            if isinstance(value, dict):
                items = cast(dict[str, Any], value)
                return {name: walk(item) for name, item in items.items()}
            return value

        moved = self.boxes
        if boxes and moved is not None:
            moved = [Boxes(**{k: walk(v) for k, v in vars(item).items()}) for item in moved]
        return replace(
            self,
            x=walk(self.x),
            y=walk(self.y),
            index=walk(self.index),
            boxes=moved,
            size=walk(self.size),
            original=walk(self.original),
            extra=walk(self.extra),
        )
