"""A model that is ready to be used: a run's best one, or any with weights."""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ninefold.augment.severities import chosen_corruptions
from ninefold.core.batch import Batch
from ninefold.core.errors import Refused, nearest
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import Result
from ninefold.core.weights import local_file, read_weights
from ninefold.data.loader import evaluation_batches
from ninefold.data.open import open_data
from ninefold.data.records import DataSet
from ninefold.engine.corrupted import evaluate_corrupted
from ninefold.engine.curvature import curvature, curvature_result, parts_to_look_at
from ninefold.engine.device import best_device
from ninefold.engine.embed import Embeddings, embed, file_hash
from ninefold.engine.evaluate import evaluate
from ninefold.engine.failure import memory_told
from ninefold.engine.folder import MODEL, RUN
from ninefold.engine.matching import by_name, choose_split, plain_address, some_of
from ninefold.engine.prediction import Prediction, images_given
from ninefold.engine.prepare import Prepare
from ninefold.layers.conv import lay_out
from ninefold.models.create import create_model, preset_of
from ninefold.models.load import LoadReport, classes_in, load_weights
from ninefold.models.presets import published
from ninefold.tasks.config import Loss
from ninefold.tasks.create import make_task
from ninefold.tasks.task import Task


@dataclass
class Opened:
    """A model with all that using it needs.

    Args:
        name: The preset, or what else the model was made by.
        model: In evaluation mode, on its device.
        classes: Names by id.
        preprocess: How images become its input.
        task: What its outputs mean.
        step: Optimizer steps behind it; 0 for weights from elsewhere.
        data: What it was trained on, where that is known.
        source: Folder of the run, or the weights.
        weights: Of weights from a file: its name, bytes, sha256 and layout, and how many of its
            tensors were loaded, resized, skipped or missing.
    """

    name: str
    model: nn.Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    task: Task
    step: int = 0
    data: str = ""
    source: str = ""
    weights: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def predict(self, images: Any, *, top: int = 5, batch_size: int = 64) -> list[Prediction]:
        """One prediction an image, in order.

        Args:
            images: A path of an image or of a folder of them, an image (PIL, array, or tensor
                `(c, h, w)`, uint8), or a list of any of these.
            top: Classes to tell of each.
            batch_size: Images that go through the model at once.

        Raises:
            Refused: no such file, or one that is no image; nothing was predicted then.
            Failed: out of memory.
        """
        if top < 1 or batch_size < 1:
            raise Refused(f"top is {top}, batch_size {batch_size}; both count from 1")
        records = images_given(images, self.preprocess.channels)
        prepare = Prepare(self.preprocess, self.device)
        batches = evaluation_batches(
            records, preprocess=self.preprocess, batch_size=batch_size, workers=-1
        )
        found: list[Prediction] = []
        advice = f"try a batch_size below {batch_size}"
        with torch.no_grad(), memory_told(self.device, step=lambda: "predict", advice=advice):
            for loaded in batches:
                batch = prepare(loaded)
                assert loaded.index is not None
                said = self.task.predict(self.task.outputs(self.model, batch), batch, top=top)
                for index, record in zip(loaded.index.tolist(), said, strict=True):
                    if index >= 0:
                        found.append(Prediction(file=str(records.files[index]), **record))
        return found

    def evaluate(
        self,
        data: Any,
        *,
        split: str = "test",
        batch_size: int = 64,
        corrupt: str | Sequence[str] = (),
        images: int = 0,
    ) -> Result:
        """Metrics on a split of any data with these classes; they are matched by name.

        Args:
            data: Whatever `Run.data` may be. A set that came without splits is taken whole,
                whatever `split` says, unless the run itself was trained on it: then its splits
                are as they were.
            split: `train`, `val` or `test`.
            corrupt: Names of corruptions, or `all` fifteen: then the metrics are means over them
                in five severities, and the rest is told by `engine.corrupted.evaluate_corrupted`.
            images: So many of the split, drawn alike from all; 0 for all.

        Raises:
            Refused: the data cannot be opened, have no such split, or other classes; no such
                corruption.
        """
        names = chosen_corruptions(corrupt) if corrupt else ()
        address, batches = self._batches(data, split, batch_size, images)
        about = {"data": address, "model": self.name, **self.weights}
        if names:
            return evaluate_corrupted(
                self.model, self.task, batches, names, preprocess=self.preprocess,
                device=self.device, split=split, step=self.step, conditions=about,
            )  # fmt: skip
        return evaluate(
            self.model, self.task, batches, preprocess=self.preprocess, device=self.device,
            split=split, step=self.step, conditions=about,
        )  # fmt: skip

    def curvature(
        self,
        data: Any,
        *,
        split: str = "train",
        images: int = 512,
        batch_size: int = 64,
        count: int = 1,
        blocks: bool = False,
        steps: int = 50,
        tolerance: float = 1e-3,
    ) -> Result:
        """The largest eigenvalues of the Hessian of the loss on some images: how sharp it is there.

        The loss is the task's plain one (no label smoothing, no decay of weights) in evaluation
        mode and float32, on images as evaluation shows them: without augmentation.

        Args:
            data: As for `evaluate`.
            split: That of which images are drawn; the paper looks at the training loss.
            images: So many, drawn alike from all; 0 for all.
            batch_size: Images at a time; decides memory only.
            count: Eigenvalues of each part, the largest first.
            blocks: Also of the embedding, each block, the head, all attention and all perceptrons:
                of the diagonal blocks of the Hessian that are theirs.
            steps: Products with the Hessian at the most; each takes about two training steps over
                the images, and the vectors take `steps` times the memory of the weights.
            tolerance: Relative error at which it ends.

        Returns:
            Metric `hessian_max`, the largest of the whole model; `curves["parts"]` holds an
            `explain.Spectrum` a part.

        Raises:
            Refused: as for `evaluate`; the model does not tell its blocks.
            Failed: the loss is not finite, or there is no memory.

        Source: Chen et al. 2022, arXiv 2106.01548, Tables 1 and 3, by power iteration there.
        """
        if not 1 <= count <= steps:
            raise Refused(f"curvature: count is {count}; 1 to {steps}, the number of steps")
        parts = parts_to_look_at(self.model, blocks=blocks, where=self.name)
        address, loaded = self._batches(data, split, batch_size, images)
        prepare = Prepare(self.preprocess, self.device)
        batches = [prepare(batch) for batch in loaded]
        found = curvature(
            self.model, self.task, batches, parts=parts, count=count, steps=steps,
            tolerance=tolerance,
        )  # fmt: skip
        return curvature_result(
            found, split=split, step=self.step, images=sum(len(batch) for batch in batches),
            conditions={"data": address, "model": self.name, **self.weights},
        )  # fmt: skip

    def embed(
        self,
        data: Any,
        *,
        batch_size: int = 64,
        workers: int = -1,
        progress: Callable[[int, int], None] | None = None,
    ) -> Embeddings:
        """Features of every image of a data set, for probes or for a file; see `engine.embed`.

        Args:
            data: Whatever `Run.data` may be, with the splits that a training has of it; or a folder
                of images without labels.
            progress: Called after each batch with images done and images in all.

        Raises:
            Refused: the model has no `features` and `pool`, or the data cannot be opened.
            Failed: out of memory.
        """
        about: dict[str, Any] = {"model": self.name, "weights": self.source}
        file = local_file(self.source)
        file = file / MODEL if file.is_dir() else file
        if self.source and file.is_file():
            about["weights_sha256"] = file_hash(file)
        return embed(
            self.model, data, preprocess=self.preprocess, device=self.device, about=about,
            batch_size=batch_size, workers=workers, progress=progress,
        )  # fmt: skip

    def _batches(
        self, data: Any, split: str, batch_size: int, images: int
    ) -> tuple[str, Iterator[Batch]]:
        """The data's address, and batches of a split with this model's ids of classes."""
        if batch_size < 1 or images < 0:
            raise Refused(f"batch_size is {batch_size}, images {images}; 1 and 0 at the least")
        opened = self._open(data)
        records = by_name(choose_split(opened, split), opened, self.classes)
        batches = evaluation_batches(
            some_of(records, images), preprocess=self.preprocess, batch_size=batch_size, workers=-1
        )
        return opened.address, batches

    def _open(self, data: Any) -> DataSet:
        """Data with the splits they came with; the run's own with those that it was trained on."""
        own = bool(self.data) and plain_address(data) == plain_address(self.data)
        channels = self.preprocess.channels
        return open_data(data, task=self.task.name, channels=channels, cut=own)


def open_run(folder: str | Path, *, device: torch.device | str | None = None) -> Opened:
    """The best model of a run, or one written by `ninefold convert`.

    Args:
        folder: The run's folder, or a `model.safetensors`.
        device: Where it computes; without it CUDA, MPS or the CPU.

    Raises:
        Refused: no run there, or one that has not come to its first validation yet.
    """
    path = Path(folder)
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        if (path / RUN).is_file():
            raise Refused(f"{folder}: the run has no {MODEL} yet; go on with it by --resume")
        known = [p.parent.name for p in path.parent.glob(f"*/{MODEL}")]
        raise Refused(
            f"{folder}: no run is there, as it holds no {MODEL}{nearest(path.name, known)}"
        )
    weights = read_weights(file)
    told = weights.metadata
    lacking = [k for k in ("preset", "model_options", "classes", "preprocess") if k not in told]
    if lacking:
        raise Refused(f"{file}: does not say its {', '.join(lacking)}; name the model beside it")
    model = create_model(told["preset"], **json.loads(told["model_options"]))
    try:
        model.load_state_dict(weights.tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise Refused(
            f"{file}: does not fit {told['preset']} as it is built here: {reason}"
        ) from None
    return _ready(
        told["preset"],
        model,
        classes=tuple(json.loads(told["classes"])),
        preprocess=Preprocess.parse(json.loads(told["preprocess"]), where=str(file)),
        told=told,
        source=str(folder),
        device=device,
    )


def open_model(
    name: str, weights: str | Path, *, device: torch.device | str | None = None, **options: Any
) -> Opened:
    """A model by name with weights: our own, or published ones.

    Args:
        weights: A file, `hf://org/repo/file`, or `pretrained`. Classes and preprocessing come from
            the file where it has them; else the names that a head of its size has, and the
            preset's own preprocessing.
        options: As for `create_model`.

    Raises:
        Refused: no such model or file, or they do not fit each other.
    """
    preset = preset_of(name)
    source = published(name) if weights == "pretrained" else weights
    file = read_weights(source)
    told = file.metadata
    named = len(json.loads(told.get("classes", "[]")))
    if told.get("preset") == name:
        options = {**json.loads(told["model_options"]), **options}
    if named:
        options.setdefault("num_classes", named)
    model = create_model(name, **options)
    head = getattr(model, "head", None)
    rows = int(getattr(head, "out_features", options.get("num_classes", preset.num_classes)))
    classes = classes_in(file, rows, model) or tuple(str(i) for i in range(rows))
    report = load_weights(model, source)
    preprocess = preset.preprocess
    if "preprocess" in told:
        preprocess = Preprocess.parse(json.loads(told["preprocess"]), where=str(source))
    elif "image_size" in options:
        preprocess = preprocess.changed(image_size=options["image_size"])
    return _ready(
        name,
        model,
        classes=classes,
        preprocess=preprocess,
        told=told,
        source=str(source),
        device=device,
        weights=_about(source, report),
    )


def _about(source: str | Path, report: LoadReport) -> dict[str, Any]:
    """What is known of a file of weights and of how it went into the model."""
    path = local_file(source)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    counts = {k: len(getattr(report, k)) for k in ("loaded", "resized", "skipped", "missing")}
    told = {"weights": str(source), "bytes": path.stat().st_size, "sha256": digest}
    return told | {"layout": report.layout or "its own"} | counts


def _ready(
    name: str,
    model: nn.Module,
    *,
    classes: tuple[str, ...],
    preprocess: Preprocess,
    told: dict[str, str],
    source: str,
    device: torch.device | str | None,
    weights: dict[str, Any] | None = None,
) -> Opened:
    where = best_device() if device is None else torch.device(device)
    lay_out(model)
    cast(Any, model).classes = classes
    return Opened(
        name=name,
        model=model.to(where).eval(),
        classes=classes,
        preprocess=preprocess,
        task=make_task(told.get("task", "classification"), classes, Loss()),
        step=int(told.get("step", "0")),
        data=told.get("data", ""),
        source=source,
        weights=weights or {},
    )
