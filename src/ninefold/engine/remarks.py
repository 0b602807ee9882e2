"""What a run is told before its first step: the image size that fits, and what may surprise."""

from torch import nn

from ninefold.core.errors import Refused
from ninefold.data.records import DataSet
from ninefold.engine.config import Run
from ninefold.models.presets import preset_of
from ninefold.report.style import without_font


def fitted(run: Run, data: DataSet, notes: list[str]) -> Run:
    """The run at its images' own size where that is smaller than its own."""
    usual = usual_size(data)
    least, step = preset_of(run.model).fits
    size = max(least, -(-usual // step) * step)
    if size >= run.preprocess.image_size:
        return run
    why = "as large as the images are"
    if size - usual >= 4:
        why = f"the next size of {run.model} to the images' {usual}"
    notes.append(f"trains at {size} x {size} pixels, {why}")
    return run.changed(preprocess=run.preprocess.changed(image_size=size))


def usual_size(data: DataSet) -> int:
    """The median of the shorter sides of a few training images."""
    records = data.splits["train"]
    some = range(0, len(records), -(-len(records) // 32))
    sides = sorted(min(records.load(i).x.shape[-2:]) for i in some)
    return sides[len(sides) // 2]


def refuse_small(run: Run, model: nn.Module) -> None:
    """See that the images are not smaller than the model's `stride`, where it tells one.

    Raises:
        Refused: they are: one place of the last map is more than all of an image.
    """
    size, stride = run.preprocess.image_size, getattr(model, "stride", 1)
    if isinstance(stride, int) and size < stride:
        raise Refused(
            f"{run.model}: image_size {size} is below the network's stride of {stride} pixels; "
            f"{stride} is the least"
        )


MANY = 100
"""Passes over the training part that are worth a word where nobody asked for them."""


def remarks(run: Run, model: nn.Module, data: DataSet, epochs: float) -> list[str]:
    """What may surprise: border pixels that the model leaves out (its
    `pixels_covered`, where it has that), very many epochs, choices without effect, names that
    figures cannot show."""
    said: list[str] = []
    size = run.preprocess.image_size
    covered = min(getattr(model, "pixels_covered", (size,)))
    if covered < size:
        said.append(
            f"{run.model}: patches cover {covered} of {size} pixels a side, the rest at the right "
            f"and the bottom is not seen; --image-size {covered} has none left over"
        )
    if run.steps and epochs > MANY:
        images = len(data.splits["train"])
        said.append(
            f"{run.steps:,} steps are {epochs:,.0f} passes over the {images:,} training images; "
            "--epochs N or --steps N trains less"
        )
    if (run.head_map or run.reset_head) and not run.weights:
        said.append("head_map and reset_head have no effect without weights; --weights names them")
    if lost := without_font(data.classes):
        said.append(f"{lost}; figures show their numbers")
    return said
