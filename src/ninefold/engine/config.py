"""The run: everything that decides a training, in one frozen record."""

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ninefold.augment.config import Augment
from ninefold.core.config import Config
from ninefold.core.errors import Refused
from ninefold.core.preprocess import Preprocess
from ninefold.optim.config import AdamW, Optim, Schedule
from ninefold.tasks.config import Loss


class Stages(Config):
    """Progressive learning: image size and regularisation that grow while a run trains.

    A table by columns. A column holds the first and the last stage's value, those between being
    interpolated, or one value a stage; an empty one leaves the run's own value in all stages.
    """

    count: NonNegativeInt = 0
    """Stages; 0 for none of this."""
    shares: tuple[PositiveFloat, ...] = ()
    """How long each stage is, in proportion to the others; nothing for equal ones."""
    image_size: tuple[PositiveInt, ...] = ()
    """Side of the training images, in pixels; evaluation keeps `preprocess.image_size`."""
    multiple: PositiveInt = 1
    """Of a first and a last size, all stages' are rounded to multiples of this, such as a patch."""
    magnitude: tuple[NonNegativeFloat, ...] = ()
    """Magnitude of RandAugment, in tenths, in place of the `m` of `augment.randaugment`."""
    mixup: tuple[NonNegativeFloat, ...] = ()
    """In place of `augment.mixup`."""
    cutmix: tuple[NonNegativeFloat, ...] = ()
    """In place of `augment.cutmix`."""
    dropout: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = ()
    """Probability of the model's dropout layers."""

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        for name in ("shares", "image_size", "magnitude", "mixup", "cutmix", "dropout"):
            length = len(getattr(self, name))
            fitting = {0, self.count} if name == "shares" else {0, min(self.count, 2), self.count}
            if length not in fitting:
                ends = "" if name == "shares" or self.count < 3 else "2 (first and last) or "
                right = f"{ends}{self.count}" if self.count else f"stages.count {length}"
                raise ValueError(
                    f"{name} has {length} value{'s' * (length > 1)} for count {self.count}; "
                    f"{right} would be right"
                )
        return self


def require_run(run: object, where: str) -> None:
    """Refuse what is no `Run`, and say how to come by one."""
    if not isinstance(run, Run):
        given = repr(run) if isinstance(run, str) else f"a {type(run).__name__}"
        raise Refused(
            f"{where}: {given} is no run; ninefold.recipes.quickstart(data=...) makes one, "
            "ninefold.Run.read('runs/0001/run.yaml') reads one, ninefold.open_run(FOLDER) opens "
            "what one has trained"
        )


class Run(Config):
    """A complete run. Recipes return one; `run.yaml` records one; `ninefold.train` takes one."""

    recipe: str = ""
    """The recipe that made it, for the record."""
    task: str = "auto"
    """`auto`: what the data are labelled for; else `classification` or `multilabel`."""
    model: str = "swin_tiny"
    """A preset, `timm/<name>`, or `package.module:Name`."""
    backbone: str = ""
    """The backbone of a model that is built on one; nothing for a model that is whole by itself."""
    model_options: tuple[str, ...] = ()
    """A preset's own options as `KEY=VALUE`, values read as YAML, checked by name."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Stochastic depth: probability at the last block, rising linearly from 0."""
    weights: str = ""
    """Where training starts: a file, `hf://org/repo/file`, `pretrained`, or nothing."""
    reset_head: bool = False
    """Start with a new head where the weights' classes are not the data's."""
    head_bias: float = 0.0
    """Bias of a new head at the start; with `loss.sigmoid`, minus the logarithm of the number of
    classes, so that the first steps do not go into saying no."""
    head_map: str = ""
    """A file with one row index of the old head a class, as for ImageNet-22K to 1K; or `names`:
    the rows of the classes of the same names, the others anew."""
    data: str = "synthetic://classification"
    """A folder, a table, or an address that DESIGN section 4 names."""
    preprocess: Preprocess = Preprocess()
    """Size, crop and normalisation, for training and ever after."""
    fit_image_size: bool = False
    """Train at the data's own image size where that is smaller than `preprocess.image_size`."""
    freeze: int | Literal["backbone"] = 0
    """Stages that do not train, the embedding with them: a number from the input on, or `backbone`
    for all but the head (a linear probe)."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor of the learning rate a layer further from the head; 1 for one rate everywhere."""
    grad_checkpoint: bool = False
    """Recompute activations in the backward pass: less memory for a third more time."""
    augment: Augment = Augment()
    """What is done to training images."""
    stages: Stages = Stages()
    """Image size and regularisation that grow from stage to stage."""
    uncertainty: str = "softmax"
    """How predictions are scored for doubt."""
    loss: Loss = Loss()
    """What is minimised."""
    optim: Optim = AdamW()
    """The optimizer; its kind is the recipe's choice or that of `--optim KIND`."""
    schedule: Schedule = Schedule()
    """The learning rate over time."""
    batch_size: PositiveInt = 64
    """Images an optimizer step, over all processes and accumulated parts."""
    accumulate: NonNegativeInt = 1
    """Parts into which each process cuts its share of a batch, one after the other; 0 for as few
    as fit into memory, which are then recorded."""
    epochs: NonNegativeFloat = 0.0
    """Passes over the training part; this or `steps`."""
    steps: NonNegativeInt = 0
    """Optimizer steps; this or `epochs`."""
    clip_norm: NonNegativeFloat = 0.0
    """Largest norm of all gradients together; 0 for no clipping."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the moving average of the weights, which is then what is evaluated; 0 for none."""
    ema_rule: Literal["corrected", "tensorflow"] = "corrected"
    """How the average starts: `corrected`, as Adam's means; `tensorflow`: at the first weights,
    with a decay of (1 + n) / (10 + n) until that is larger, running statistics averaged too."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """`auto`: bf16 where the device computes it natively."""
    compile: bool = False
    """Compile the model; where that fails, go on without and say so once."""
    seed: NonNegativeInt = 0
    """Decides weights, order, crops and noise."""
    workers: int = Field(default=-1, ge=-1)
    """Processes that load images; -1 chooses. The batches are the same for any number."""
    cache: float = Field(default=0.25, ge=0, le=1)
    """Share of the free memory for decoded images, which all workers then read; 0 for none."""
    evaluate_every: NonNegativeInt = 0
    """Steps between validations; 0 for once an epoch, but fifty times in all at the most."""
    checkpoint_every: NonNegativeInt = 0
    """Steps between checkpoints; 0 for as often as validations by default."""
    keep: int = Field(default=2, ge=2)
    """Checkpoints kept; two at the least, so that a torn one is never the only one."""

    @field_validator("freeze", mode="before")
    @classmethod
    def _stages(cls, value: object) -> object:
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if value != "backbone" and (type(value) is not int or value < 0):
            raise ValueError("a number of stages, 0 or more, or backbone is right")
        return value

    @field_validator("precision", mode="before")
    @classmethod
    def _no_half(cls, value: object) -> object:
        if isinstance(value, str) and ("16" in value) > ("bf16" in value):
            raise ValueError(
                "fp16 needs its losses scaled, which goes with no closure, and so not with SAM's "
                "two passes; bf16-mixed or 32-true is right"
            )
        return value

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs > 0) == (self.steps > 0):
            raise ValueError(
                f"exactly one of epochs ({self.epochs:g}) and steps ({self.steps}) must be above 0"
            )
        return self
