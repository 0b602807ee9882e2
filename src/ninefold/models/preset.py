"""What is known of a model by name, and of a family of models.

Free of torch, so that commands list models and recipes read their settings at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ninefold.core.preprocess import Preprocess

Status = Literal["exact", "published", "inferred", "ours", "guest", "own"]


@dataclass(frozen=True)
class Preset:
    """One named model.

    Args:
        family: Its family, or where a guest or a user's own model comes from.
        options: Arguments of the family beside image size, channels, classes and drop path.
        preprocess: How it wants its images; the image size also decides what is built.
        status: `exact`: equal to a reference that was run; `published`: equal to the paper's
            description; `inferred`; `ours`; `guest` (timm's) and `own` (the user's).
        paper: Authors, year and where to read it.
        parameters: With `num_classes` classes.
        gmacs: Multiply-adds of one image at the preset's size, in thousand millions, as torch's
            FlopCounterMode counts them.
        accuracy: Top-1 on ImageNet-1k that is published for these weights; 0 for none.
        accuracy_from: Who says so.
        weights: Address of published weights; nothing where the hub has none.
        authors_file: What the authors call the file, where it stands elsewhere under another name.
        weights_opened: Whether such a file has ever been opened here, or only its layout tested.
        licence: Of those weights.
        fits: Where the image size is fitted to one's own images: the least one, and the step from
            one to the next, in pixels.
        drop_path: Stochastic depth when trained on ImageNet-1k from nothing, where that was done.
        num_classes: Of the weights; where there are none, of the data that it was made for.
    """

    family: str
    options: dict[str, Any]
    preprocess: Preprocess
    status: Status
    paper: str = ""
    parameters: int = 0
    gmacs: float = 0.0
    accuracy: float = 0.0
    accuracy_from: str = "its authors' figure"
    weights: str = ""
    authors_file: str = ""
    weights_opened: bool = False
    licence: str = ""
    fits: tuple[int, int] = (4, 4)
    drop_path: float = 0.0
    num_classes: int = 1000


@dataclass(frozen=True)
class Family:
    """Models of one class.

    Args:
        home: The class as `module:Name`.
        aliases: The reference's own argument names beside ours.
        defaults: Options that make the class this family.
    """

    home: str
    aliases: Mapping[str, str]
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
