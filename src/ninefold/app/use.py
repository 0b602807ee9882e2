"""`ninefold eval` and `ninefold predict`: a run, or a model with weights, put to use."""

import json
import logging
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ninefold.app import printing
from ninefold.app.measures import check_measures, corrupted, curved, keep
from ninefold.app.pictures import save_picture
from ninefold.core.errors import Refused
from ninefold.core.labels import labels_for
from ninefold.data.open import open_images
from ninefold.engine.device import chosen_device
from ninefold.engine.folder import claim
from ninefold.engine.opened import Opened, Prediction, open_model, open_run
from ninefold.models.presets import PRESETS
from ninefold.report.style import without_font

log = logging.getLogger(__name__)


def evaluate(given: Namespace) -> int:
    """Print a split's metrics; a run keeps them among its results.

    Of a file of weights, also print what it is, the authors' own figure where there is one, and all
    as a JSON line, as there is no run to keep it.
    """
    check_measures(given)
    opened = open_given(given)
    data = given.data or opened.data
    if not data:
        raise Refused(f"{given.run}: no data given; --data PATH names what to measure it on")
    if given.shift is not None:
        return corrupted(opened, data, given)
    if given.curvature:
        return curved(opened, data, given)
    split, images = given.split or "test", given.images or 0
    result = opened.evaluate(data, split=split, batch_size=given.batch_size, images=images)
    metrics = printing.telling(result.metrics, len(opened.classes))
    rows = [(name, printing.metric(name, value)) for name, value in metrics.items()]
    line = result.line()
    rows.append(("images", f"{line['images']:,}"))
    preset = PRESETS.get(given.run)
    published = preset.accuracy if preset else 0.0
    if preset and published and opened.weights and opened.classes == labels_for(1000):
        line["published_top1"] = published
        off = 100 * (result.top1 - published)
        rows.append(("published top1", f"{100 * published:.1f} % on the 50,000 of ImageNet-1k's "
                     f"validation ({preset.accuracy_from}); here {off:+.2f} points, on "
                     f"{line['images']:,}"))  # fmt: skip
    rows += [(key, str(value)) for key, value in opened.weights.items()]
    print(printing.table((split, data), rows))
    keep(Path(given.run), [line], last=line)
    return 0


def predict(given: Namespace) -> int:
    """A JSON line an image; a file that cannot be read stops none of the others.

    Returns:
        0; 1 if some files could not be read, 2 if none could.
    """
    if given.batch_size < 1:
        raise Refused(f"--batch-size {given.batch_size}: one at the least")
    files = _Files(given.files)
    opened = open_given(given)
    out = claim(given.out) if given.out else None
    if out is not None and (lost := without_font(opened.classes)):
        log.info("%s; pictures show squares, the lines here have the names", lost)
    taken: set[str] = set()
    read = 0
    for names, images in files.parts(given.batch_size, opened.preprocess.channels):
        said = opened.predict(images, top=given.top, batch_size=given.batch_size)
        for name, image, one in zip(names, images, said, strict=True):
            prediction = replace(one, file=name)
            print(json.dumps(_record(prediction), ensure_ascii=False))
            if out is not None:
                save_picture(image, prediction, out / _free(Path(name).stem, taken))
        sys.stdout.flush()
        read += len(names)
    return 0 if not files.bad else 1 if read else 2


class _Files:
    """The images below some paths; those that cannot be read are named on stderr.

    Raises:
        Refused: not one of the paths can be opened.
    """

    def __init__(self, paths: list[str]) -> None:
        self.bad = 0
        self._files: list[str] = []
        first: Refused | None = None
        for path in paths:
            try:
                self._files += open_images([path]).files
            except Refused as error:
                first = first or error
                if len(paths) > 1:
                    self._name(error)
        if first is not None and not self._files:
            raise first

    def parts(self, count: int, channels: int) -> Iterator[tuple[list[str], list[torch.Tensor]]]:
        """Names and decoded images of so many channels, `count` at a time."""
        names: list[str] = []
        images: list[torch.Tensor] = []
        records = open_images(self._files, channels=channels)
        for i, name in enumerate(self._files):
            try:
                image = records.load(i).x
            except Refused as error:
                self._name(error)
                continue
            assert isinstance(image, torch.Tensor)
            names.append(name)
            images.append(image)
            if len(names) == count:
                yield names, images
                names, images = [], []
        if names:
            yield names, images

    def _name(self, error: Refused) -> None:
        self.bad += 1
        print(f"ninefold predict: {error}", file=sys.stderr)


def open_given(given: Namespace) -> Opened:
    """The run, or the model with weights, that a command names."""
    device = chosen_device(given.device)
    if given.weights:
        return open_model(given.run, given.weights, device=device)
    if given.run in PRESETS and not Path(given.run).exists():
        raise Refused(
            f"{given.run} is a model and has no weights yet; name them with --weights FILE, or "
            "--weights pretrained"
        )
    return open_run(given.run, device=device)


def _record(prediction: Prediction) -> dict[str, object]:
    """The keys of DESIGN section 2; boxes and masks where there are some."""
    record = asdict(prediction)
    return {k: v for k, v in record.items() if k not in ("boxes", "masks") or v}


def _free(stem: str, taken: set[str]) -> str:
    """A file name that no other image of this command has."""
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    taken.add(name)
    return f"{name}.png"
