"""Names of the classes of public data sets, in the order of published heads.

Text files, one name a line, beside this module. Facts taken from: the ImageNet-1k class index (1000
distinct names, as torchvision spells them) and the synsets of these classes, which folders of its
images are called by; WordNet's lemmas for the ImageNet-21k synsets in
sorted order; COCO's 80 classes by category id; the ADE20K scene parsing benchmark; Kinetics-400 in
alphabetical order; AudioSet's class index.

ImageNet-21k has 21,843 synsets, two of which hold no images. Swin's authors (22k, 21,841 rows) put
the last two classes into the rows of these two, so that all others stand where they stand in 21k
(microsoft/Swin-Transformer, `data/imagenet22k_dataset.py`); their list of rows for ImageNet-1k
agrees for 999 classes; the last, the teddy, is none of the 22k. Others leave the two rows out.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ninefold.core.errors import Refused, nearest

_FOLDER = Path(__file__).with_suffix("")
_SIZES = {
    "imagenet-1k": 1000,
    "imagenet-22k": 21841,
    "imagenet-21k": 21843,
    "coco": 80,
    "ade20k": 150,
    "kinetics-400": 400,
    "audioset": 527,
}
_NO_IMAGES = (9205, 15027)  # "picture" (n03931044) and "bleacher" (n09859684)


@cache
def labels(name: str) -> tuple[str, ...]:
    """Class names of a data set by class id.

    Raises:
        Refused: no names of a set called so come with the package.
    """
    if name not in _SIZES:
        hint = nearest(name, _SIZES, f"known are {', '.join(_SIZES)}")
        raise Refused(f"labels: no class names are known for {name!r}{hint}")
    if name == "imagenet-22k":
        names = list(labels("imagenet-21k"))
        for row in reversed(_NO_IMAGES):
            names[row] = names.pop()
        return tuple(names)
    return tuple((_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def labels_for(num_classes: int) -> tuple[str, ...] | None:
    """Names of the public data set with that many classes; None where no known set has."""
    for name, size in _SIZES.items():
        if size == num_classes:
            return labels(name)
    return None


@cache
def _synsets() -> dict[str, str]:
    ids = (_FOLDER / "imagenet-1k-synsets.txt").read_text(encoding="utf-8").split()
    return dict(zip(ids, labels("imagenet-1k"), strict=True))


def spoken(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names with ImageNet-1k's own in place of its synsets, where all of them are such."""
    known = _synsets()
    if all(name in known for name in classes):
        return tuple(known[name] for name in classes)
    return tuple(classes)


def row_map(source: str | Path) -> list[int]:
    """For each class of one set, its row in the head of another: whole numbers, one a line.

    Args:
        source: A file, or `imagenet-22k-to-1k`: the list with which Swin's authors go from
            ImageNet-22K to 1K (microsoft/Swin-Transformer, `data/map22kto1k.txt`).

    Raises:
        Refused: no such file, or a line that is no whole number.
    """
    shipped = str(source) == "imagenet-22k-to-1k"
    path = _FOLDER / "imagenet-22k-to-1k.txt" if shipped else Path(source)
    if not path.is_file():
        raise Refused(f"{source}: no such file; a file with one row number a line")
    lines = path.read_text(encoding="utf-8", errors="replace").split()
    for number, line in enumerate(lines, start=1):
        if not (line.isascii() and line.isdigit()):
            raise Refused(f"{source}: line {number} is {line!r}; one row number a line")
    return [int(line) for line in lines]
