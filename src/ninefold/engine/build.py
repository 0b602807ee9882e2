"""From a run to the things that train: data, model, task, optimizer; all that can be refused is
refused here, before any work.
"""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int
from lightning_fabric import Fabric
from torch import Tensor, nn

from ninefold.augment.randaugment import read_randaugment
from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused
from ninefold.core.objects import find
from ninefold.core.options import read_options
from ninefold.core.preprocess import Preprocess
from ninefold.data.folder import split_folders
from ninefold.data.loader import evaluation_batches
from ninefold.data.open import open_data, root_of
from ninefold.data.records import DataSet, Records
from ninefold.data.verify import verify
from ninefold.engine.co_train import add_agent, check_patches
from ninefold.engine.config import Run
from ninefold.engine.device import compile_model
from ninefold.engine.evaluate import versions
from ninefold.engine.prepare import Prepare
from ninefold.engine.remarks import fitted, refuse_small, remarks
from ninefold.engine.stages import Course, check_stages
from ninefold.engine.update import Objective, State
from ninefold.layers.conv import lay_out
from ninefold.models.create import create_model
from ninefold.models.depth import freeze, rate_scales, save_memory, set_head_bias
from ninefold.models.load import load_weights
from ninefold.models.presets import published
from ninefold.optim.average import Ema
from ninefold.optim.build import make_optimizer
from ninefold.optim.config import Asam, Gsam, Sam
from ninefold.tasks.create import make_task
from ninefold.tasks.task import Task

log = logging.getLogger(__name__)


@dataclass
class Parts:
    """Everything that a run needs.

    Args:
        run: The run, at the image size that it trains at.
        stop: Optimizer steps in all.
        epoch: Optimizer steps an epoch; not whole in general.
        options: What `create_model` was told, to be told again when the model is opened.
        notes: What was decided on the way.
        frozen: Modules of the model that stay in evaluation mode.
        scales: Factors of the learning rate by the names of parameters; `None` for 1 everywhere.
    """

    run: Run
    data: DataSet
    model: nn.Module
    task: Task
    stop: int
    epoch: float
    options: dict[str, Any]
    notes: list[str]
    frozen: list[nn.Module]
    scales: dict[str, float] | None


def build(run: Run, world: int) -> Parts:
    """Open the data and build model and task, on the CPU.

    Raises:
        Refused: anything that does not fit.
    """
    shards = run.optim.shards if isinstance(run.optim, Sam | Asam | Gsam) else 1
    unit = world * max(run.accumulate, 1) * shards
    share, rest = divmod(run.batch_size, unit)
    if rest or not share:
        near = max(unit, run.batch_size // unit * unit)
        raise Refused(
            f"train: batch_size {run.batch_size} does not divide by {world} processes times "
            f"accumulate {run.accumulate}{f' times {shards} shards' * (shards > 1)}; {near} would "
            "be right"
        )
    _refuse_unread(run)
    channels = run.preprocess.channels
    data = open_data(run.data, task=run.task, channels=channels, cache=run.cache)
    for split in ("train", "val"):
        if split not in data.splits or not len(data.splits[split]):
            raise Refused(f"{data.address}: has no images in its {split} split; it needs some")
    for records in data.splits.values():
        verify(records)
    notes = list(data.notes)
    if run.fit_image_size:
        run = fitted(run, data, notes)
    task = make_task(data.task, data.classes, run.loss)
    epoch = len(data.splits["train"]) / run.batch_size
    stop = run.steps or max(1, round(run.epochs * epoch))
    run = run.changed(schedule=run.schedule.over(stop))
    course = Course(run, stop)
    check_patches(run, task, course)
    if run.augment.custom:
        find(run.augment.custom)  # refused now if it is not there, and not at the first step
    options: dict[str, Any] = {
        "image_size": run.preprocess.image_size,
        "in_channels": run.preprocess.channels,
        "num_classes": len(data.classes),
        **read_options(run.model_options, where="model_options"),
    }
    torch.manual_seed(run.seed)
    model = create_model(run.model, drop_path=run.drop_path, **options)
    refuse_small(run, model)
    lay_out(model)
    cast(Any, model).classes = data.classes  # load_weights compares them by name
    if run.head_bias:
        set_head_bias(model, run.head_bias, where=run.model)
    if run.weights:
        notes += _load(run, model)
    scales = None
    if run.layer_decay < 1:
        scales = rate_scales(model, run.layer_decay, where=run.model)
    frozen = _freeze(run, model, notes) if run.freeze else []
    if run.grad_checkpoint:
        save_memory(model, where=run.model)
    check_stages(run, model, course)
    if run.stages.count:
        notes.append(course.told())
    for size in dict.fromkeys([run.preprocess.image_size, *course.sizes]):
        seen = example(data, run.preprocess.changed(image_size=size))
        staged = size != run.preprocess.image_size
        check_fit(model, task, seen, f"stages.image_size: {run.model}" if staged else run.model)
    notes += remarks(run, model, data, stop / epoch)
    return Parts(run, data, model, task, stop, epoch, options, notes, frozen, scales)


def _refuse_unread(run: Run) -> None:
    """Refuse what the run rules out by itself, before any data are read."""
    if run.augment.randaugment:
        read_randaugment(run.augment.randaugment, run.preprocess)
    if run.steps:
        run.schedule.over(run.steps)
        Course(run, run.steps)


def _load(run: Run, model: nn.Module) -> list[str]:
    source = run.weights
    if source == "pretrained":
        source = published(run.model)
    report = load_weights(
        model,
        source,
        reset_head=run.reset_head,
        head_map=run.head_map or None,
    )
    heads = {
        "": "no head among them",
        "reset": "their classes are others, so the head starts anew",
        "reordered": "their head put into the order of these classes",
        "mapped": "their head's rows picked by head_map",
    }
    if new := len(report.new_classes):
        classes: Any = model.classes
        known = f"{len(classes) - new} of {len(classes)}"
        heads["mapped"] = f"{known} classes found in the weights' head; {new} start anew"
    elif run.head_map == "names":
        heads["mapped"] = "every class found in the weights' head by its name"
    notes = [f"{source}: {len(report.loaded) + len(report.resized)} tensors loaded"]
    if report.head in heads:
        notes[0] += f"; {heads[report.head]}"
    if report.resized:
        notes.append(f"{len(report.resized)} tables resized to this image size")
    return notes


def _freeze(run: Run, model: nn.Module, notes: list[str]) -> list[nn.Module]:
    frozen = freeze(model, run.freeze, where=run.model)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    left = sum(size for size, trains in sizes if trains)
    first = f"the embedding and the first {run.freeze} stages"
    what = "all but the head" if run.freeze == "backbone" else first.replace(" 1 stages", " stage")
    notes.append(f"{what} frozen: {left:,} of {sum(n for n, _ in sizes):,} parameters train")
    return frozen


def example(data: DataSet, preprocess: Preprocess) -> Batch:
    """The first training example as the model will be given it: an image, or whatever the data
    hold, one tensor a modality."""
    whole = data.splits["train"]
    first = replace(whole, files=whole.files[:1], labels=whole.labels[:1], groups=whole.groups[:1])
    batches = evaluation_batches(first, preprocess=preprocess, batch_size=1, workers=0)
    return Prepare(preprocess, torch.device("cpu"))(next(batches))


_UNFIT = (
    RuntimeError, ValueError, AssertionError, LookupError, TypeError, AttributeError,
)  # fmt: skip
"""What models raise for an input of another form: the last ones for a mapping of modalities."""


def refuse_among_classes(run: Run, folder: Path) -> None:
    """See that a run's folder is no class folder of the data that it trains on.

    Raises:
        Refused: it lies in a folder of classes: its pictures would be taken for images.
    """
    data = Path(run.data.partition("?")[0])
    splits = split_folders(data) if data.is_dir() else {}
    tops = [data / name for name in splits] or [data] * data.is_dir()
    if any(folder.resolve().is_relative_to(top.resolve()) for top in tops):
        raise Refused(
            f"{folder}: lies in the data, {run.data}, where its files would be taken for a class; "
            "choose an --out elsewhere"
        )


def check_fit(model: nn.Module, task: Task, batch: Batch, name: str) -> None:
    """See that an example of the data goes through the model, and that the task can read what
    comes out.

    Raises:
        Refused: with what model or task said.
    """
    model.eval()
    try:
        with torch.no_grad():
            task.predict(task.outputs(model, batch), batch, top=1)
    except _UNFIT as error:
        said = " ".join(str(error).split())[:200]
        kind, ours = type(error).__name__, isinstance(error, Refused | Failed)
        reason = said if ours else f"{kind}: {said}" if said else kind
        raise Refused(f"{name}: {_form(batch.x)} do not go through it: {reason}") from None
    finally:
        model.train()


def _form(x: Tensor | dict[str, Tensor]) -> str:
    if isinstance(x, dict):
        return " and ".join(f"{name} ({_form(value)})" for name, value in x.items())
    _, channels, *size = x.shape
    return f"inputs of {channels} channels and {' x '.join(map(str, size))} pixels"


def set_up(run: Run, parts: Parts, fabric: Fabric) -> State:
    """Put model and optimizer onto the device, into data parallelism where there is some.

    The module is set up before its optimizer is made: sharded parameters (FSDP2) are new objects.
    """
    if run.compile:
        compile_model(parts.model, sizes=len(set(Course(run, parts.stop).sizes)))
    objective = fabric.setup_module(Objective(parts.model, parts.task, parts.frozen))
    made = make_optimizer(parts.model, run.optim, scales=parts.scales)
    optimizer = fabric.setup_optimizers(made)
    assert isinstance(optimizer, torch.optim.Optimizer)
    state = State(
        objective, optimizer, Ema(parts.model, run.ema, rule=run.ema_rule) if run.ema else None
    )
    add_agent(run, state, fabric)
    return state


def metadata(run: Run, parts: Parts, step: int) -> dict[str, str]:
    """What `model.safetensors` says of itself; all that opening it needs."""
    return {
        "preset": run.model,
        "model_options": json.dumps(parts.options),
        "classes": json.dumps(parts.data.classes),
        "preprocess": json.dumps(run.preprocess.model_dump(mode="json")),
        "task": parts.task.name,
        "step": str(step),
        "data": parts.data.address,
        "ninefold": versions()["ninefold"],
    }


def data_record(data: DataSet) -> dict[str, Any]:
    """What a checkpoint keeps of the data: enough to say later what changed."""
    return {
        "fingerprint": data.fingerprint,
        "classes": list(data.classes),
        "names": {split: _hashes(records, data) for split, records in data.splits.items()},
    }


def check_data_same(before: dict[str, Any], data: DataSet) -> None:
    """See that a run goes on with the data it began with.

    Raises:
        Refused: with what was added, removed or changed.
    """
    if before["fingerprint"] == data.fingerprint:
        return
    changes: list[str] = []
    if before["classes"] != list(data.classes):
        changes.append(f"classes were {before['classes']}, now {list(data.classes)}")
    for split, records in data.splits.items():
        old = set(before["names"].get(split, torch.empty(0)).tolist())
        new = dict(zip(_hashes(records, data).tolist(), records.files, strict=True))
        added, gone = [new[h] for h in new if h not in old], len(old - new.keys())
        if added:
            more = f" and {len(added) - 3} more" if len(added) > 3 else ""
            changes.append(f"new in {split}: {', '.join(added[:3])}{more}")
        if gone:
            changes.append(f"gone from {split}: {gone} file{'s' * (gone > 1)}")
    what = "; ".join(changes) or "the same names, but other sizes or labels"
    raise Refused(
        f"{data.address}: is not what the run began with ({what}); restore it, or start a new run "
        "with --weights of this one"
    )


def _hashes(records: Records, data: DataSet) -> Int[Tensor, " n"]:
    """64 bits of each name below the data's place: for a million files 8 MB a checkpoint."""
    root = root_of(data.address)
    names = [name.removeprefix(root).encode("utf-8", "surrogateescape") for name in records.files]
    digests = [hashlib.blake2b(name, digest_size=8).digest() for name in names]
    return torch.tensor([int.from_bytes(d, "little", signed=True) for d in digests])
