"""What recipes have in common: parts by name or as objects, and the last step to a `Run`.

A part (model, data, optimizer, augmentation, loss) is the library's own by its short name, the
user's own as `package.module:Name`, or, in Python, an object; a `Run` holds names only.
"""

from collections.abc import Iterable
from typing import Any

from ninefold.augment.config import Augment, Patches
from ninefold.core.errors import Refused, nearest
from ninefold.core.objects import is_reference, name_of
from ninefold.engine.config import Run
from ninefold.optim.config import AdamW, Asam, Custom, Gsam, Optim, RmspropTf, Sam, Sgd
from ninefold.tasks.config import Loss

Plain = AdamW | Sgd | RmspropTf | Custom
"""What SAM can stand on."""

AUGREG: dict[str, tuple[int, int, float]] = {
    "none": (0, 0, 0.0),
    "light1": (2, 0, 0.0),
    "light2": (2, 10, 0.2),
    "medium1": (2, 15, 0.2),
    "medium2": (2, 15, 0.5),
    "strong1": (2, 20, 0.5),
    "strong2": (2, 20, 0.8),
}
"""By the paper's names: RandAugment's layers and magnitude, Mixup's alpha. `light1` is no `none`:
two operations at magnitude 0 take colour away, blacken and invert."""

AUGMENTS: dict[str, Augment] = {
    "none": Augment(crop="none", flip=0.0),
    "light": Augment(crop_area=(0.6, 1.0)),
    "pad": Augment(crop="pad"),
    "inception": Augment(crop="inception", crop_area=(0.05, 1.0), crop_aspect=(0.75, 1.33)),
    "reflect": Augment(crop="reflect"),
    "efficientnet_v2": Augment(
        crop="inception", crop_area=(0.05, 1.0), randaugment="augreg-l2-m15"
    ),
    "patches": Augment(crop="reflect", patches=Patches(grid=2)),
    "patches_imagenet": Augment(patches=Patches(grid=4, trunk="resnet18")),
    "patches_photos": Augment(
        crop="random",
        patches=Patches(
            grid=4,
            fade=True,
            leave_out=("equalize", "sharpness"),
            trunk="resnet18",
            trunk_weights="pretrained",
        ),
    ),
    "autoaugment": Augment(policy="autoaugment"),
    "trivialaugment": Augment(policy="trivialaugment"),
    "augmix": Augment(policy="augmix"),
    "swin": Augment(
        randaugment="rand-m9-mstd0.5-inc1",
        color_jitter=0.4,
        mixup=0.8,
        cutmix=1.0,
        mix_probability=1.0,
        cutmix_share=0.5,
        erase=0.25,
        erase_count=1,
        erase_mode="pixel",
    ),
    **{
        f"augreg_{name}": Augment(
            crop="inception",
            crop_area=(0.05, 1.0),
            crop_aspect=(0.75, 1.33),
            randaugment=f"augreg-l{layers}-m{magnitude}" if layers else "",
            mixup=alpha,
            mix_with="previous",
        )
        for name, (layers, magnitude, alpha) in AUGREG.items()
    },
}
"""`pad`: as for CIFAR since He et al. 2016; `reflect`: mirrored at the border. `inception`, and
`augreg_none` to `augreg_strong2` on it: vit-augreg-sam specification, sections 6.1 and 6.7.
`patches`: Patch AutoAugment as on CIFAR, and as on larger photos.
`efficientnet_v2`: efficientnetv2-paa specification, sections A7 and A8. `swin`:
hierarchical-transformers specification, section 1.12, shared constants."""


def choose_augment(augment: object) -> Augment:
    """The augmentation of that name; a user's own stands alone, without any of the library's."""
    if isinstance(augment, Augment):
        return augment
    if isinstance(augment, str) and not is_reference(augment):
        if augment not in AUGMENTS:
            raise _unknown("augmentation", augment, AUGMENTS)
        return AUGMENTS[augment]
    return AUGMENTS["none"].changed(custom=name_of(augment))


def choose_optim(optim: object, own: Plain, *others: AdamW | Sgd) -> Optim:
    """The optimizer of that kind, with the recipe's numbers for it.

    Args:
        optim: `adamw sgd rmsprop_tf sam asam gsam`, a configuration, or one's own: that one starts
            from the rate and decay that the recipe has for AdamW. SAM and its variants stand on
            the recipe's own optimizer, with a radius of their own.
        own: What the recipe trains with.
        others: The recipe's numbers for other kinds, which else have their defaults.
    """
    if isinstance(optim, Plain | Sam | Asam | Gsam):
        return optim
    known = (AdamW(), Sgd(), RmspropTf(), *others, own)
    kinds: dict[str, Optim] = {
        **{one.kind: one for one in known if not isinstance(one, Custom)},
        **{kind: _on(own, build) for kind, build in CLIMBING.items()},
    }
    if isinstance(optim, str) and not is_reference(optim):
        if optim not in kinds:
            raise _unknown("optimizer", optim, kinds)
        return kinds[optim]
    like = kinds["adamw"]
    return Custom(name=name_of(optim), lr=like.lr, weight_decay=like.weight_decay)


CLIMBING: dict[str, type[Sam | Asam | Gsam]] = {"sam": Sam, "asam": Asam, "gsam": Gsam}


def _on(own: Plain, build: type[Sam | Asam | Gsam]) -> Sam | Asam | Gsam:
    """SAM or a variant of it on that optimizer: what `base_optim` gives back."""
    if isinstance(own, Custom):
        base, options = own.name, own.options
    else:
        beyond = own.model_dump(exclude={"kind", "lr", "weight_decay"}, exclude_defaults=True)
        told = {k: list(v) if isinstance(v, tuple) else v for k, v in beyond.items()}
        base, options = own.kind, tuple(f"{k}={v}" for k, v in told.items())
    return build(base=base, lr=own.lr, weight_decay=own.weight_decay, options=options)


def finish(run: Run, changes: dict[str, Any]) -> Run:
    """Change a run by the arguments that every recipe takes beside its own.

    Args:
        run: What the recipe computed.
        changes: Fields of `Run` by name; parts (`model backbone data optim augment loss`) as
            names or objects; `image_size` in pixels. `epochs` and `steps` replace each other.
    """
    values = {**changes, **_length(changes)}
    if "augreg" in values:
        raise Refused(
            f"{run.recipe}: takes no --augreg, which augreg_in1k and augreg_in21k do; of a "
            "setting's augmentation alone, --augment augreg_medium1 would be right"
        )
    for part in ("model", "backbone", "data"):
        if part in values:
            values[part] = name_of(values[part])
    for file in ("weights", "head_map"):
        if file in values:
            values[file] = str(values[file])
    if "augment" in values:
        values["augment"] = choose_augment(values["augment"])
    if values.get("optim") == run.optim.kind:
        del values["optim"]
    elif "optim" in values:
        own = run.optim if isinstance(run.optim, Plain) else run.optim.base_optim()
        values["optim"] = choose_optim(values["optim"], own)
    if "loss" in values and not isinstance(values["loss"], Loss):
        if isinstance(values["loss"], str) and not is_reference(values["loss"]):
            raise Refused(
                f"no loss is called {values['loss']!r}; yours is named as package.module:Name"
            )
        values["loss"] = run.loss.changed(custom=name_of(values["loss"]))
    method = values.get("uncertainty", run.uncertainty)
    if method != "softmax":
        raise Refused(f"no uncertainty method is called {method!r}; there is softmax")
    backbone = values.get("backbone", run.backbone)
    if backbone:
        model = values.get("model", run.model)
        raise Refused(f"backbone {backbone!r}: {model} is whole by itself and takes none")
    if "image_size" in values:
        values["preprocess"] = run.preprocess.changed(image_size=values.pop("image_size"))
        values.setdefault("fit_image_size", False)
    return run.changed(**values)


def _length(changes: dict[str, Any]) -> dict[str, int]:
    """`epochs` without `steps`, or the other way round, whichever is given."""
    epochs, steps = changes.get("epochs", 0), changes.get("steps", 0)
    if epochs and steps:
        raise Refused(f"epochs ({epochs:g}) and steps ({steps}) exclude each other; give one")
    return {"steps": 0} if epochs else {"epochs": 0} if steps else {}


def share(batch_size: int, of: int) -> float:
    """The batch as a multiple of the one that a learning rate was chosen for."""
    if batch_size < 1:
        raise Refused(f"batch_size {batch_size} is no batch; 1 at the least")
    return batch_size / of


def required(recipe: str, name: str, value: object, what: str) -> Any:
    """`value`, or `Refused` where the recipe was given none."""
    if value is None or value == "":
        raise Refused(f"{recipe}: no {name} given; --{name} {what}")
    return value


def _unknown(kind: str, name: str, known: Iterable[str]) -> Refused:
    known = tuple(known)
    return Refused(
        f"no {kind} is called {name!r}{nearest(name, known) or ';'} there are "
        f"{', '.join(known)} and your own as package.module:Name"
    )
