"""Folders of images: `{train,val,test}/<class>/...`, or `<class>/...`."""

from collections.abc import Sequence
from pathlib import Path

from ninefold.core.errors import Refused, nearest, printable
from ninefold.data.listing import (
    SPLITS,
    WHOLE,
    Found,
    Part,
    files_part,
    folders_in,
    images_below,
    is_image,
    is_path,
    natural,
    visible,
)

_VIDEO = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def look_folder(root: Path) -> Found:
    """The examples of a folder; a class folder's images may lie at any depth in it.

    Raises:
        Refused: no images, no labels, an empty class folder, a class that only occurs outside
            training, or a layout of another task.
    """
    refuse_other_tasks(root)
    names = folders_in(root)
    splits = split_folders(root)
    for split in set(splits.values()):
        same = [name for name in splits if splits[name] == split]
        if len(same) > 1:
            raise Refused(f"{printable(root)}: {' and '.join(same)} mean the same split; keep one")
    folders = {split: root / name for name, split in splits.items()} or {WHOLE: root}
    listed = {split: _by_class(folder) for split, folder in folders.items()}
    leading = [listed["train"]] if "train" in listed else list(listed.values())
    classes = tuple(sorted({name for found in leading for name in found}, key=natural))
    for split, found in listed.items():
        _refuse_unknown(folders[split], [name for name in found if name not in classes], classes)
    parts = {split: _part(found, classes) for split, found in listed.items()}
    return Found(classes, parts, notes=_strays(root, names, splits, folders))


def split_folders(root: Path) -> dict[str, str]:
    """The split that each folder stands for; empty where the set is not divided."""
    names = folders_in(root)
    splits = {name: SPLITS[name.lower()] for name in names if name.lower() in SPLITS}
    if "train" not in splits.values() and len(splits) < len(names):
        return {}  # classes that happen to be called so
    return splits


def _by_class(folder: Path) -> dict[str, list[str]]:
    """Image files by class; no class is empty."""
    found = {name: images_below(folder / name) for name in folders_in(folder)}
    empty = [name for name, files in found.items() if not files]
    here = printable(folder)
    if len(empty) < len(found):
        if empty:
            raise Refused(
                f"{here}: class folder {printable(empty[0])!r} holds no images; fill or remove it"
            )
        return found
    loose = sum(is_image(entry.name) for entry in visible(folder))
    if loose:
        raise Refused(
            f"{here}: holds {loose} images without labels; put them into one folder a class, or "
            "write a table with the columns image and label"
        )
    if any(images_below(folder / name, _VIDEO) for name in found):
        raise Refused(f"{here}: holds videos; video classification is not built yet")
    raise Refused(f"{here}: holds no images (.jpg, .png and others), in whatever folder")


def _part(found: dict[str, list[str]], classes: tuple[str, ...]) -> Part:
    ids = {name: i for i, name in enumerate(classes)}
    order = sorted(found, key=ids.__getitem__)
    files = [file for name in order for file in found[name]]
    return files_part(files, [ids[name] for name in order for _ in found[name]])


def _refuse_unknown(folder: Path, unknown: list[str], classes: Sequence[str]) -> None:
    if unknown:
        raise Refused(
            f"{printable(folder)}: class {printable(unknown[0])!r} is none of the training "
            f"split's{nearest(unknown[0], classes)}"
        )


def _strays(
    root: Path, names: list[str], splits: dict[str, str], folders: dict[str, Path]
) -> tuple[str, ...]:
    """What was passed over."""
    notes: list[str] = []
    others = [printable(name) for name in names if splits and name not in splits]
    if others:
        notes.append(f"{printable(root)}: passed over, being no split: {', '.join(others)}")
    for folder in folders.values():
        loose = sum(is_image(entry.name) for entry in visible(folder))
        if loose:
            notes.append(f"{printable(folder)}: passed over {loose} images outside class folders")
    return tuple(notes)


def refuse_other_tasks(root: Path) -> None:
    """Tell layouts apart that are known but not built yet.

    Raises:
        Refused: it is one of them.
    """
    names = {entry.name for entry in visible(root)}
    annotations = root / "annotations"
    found = ""
    if annotations.is_dir() and any(annotations.glob("instances_*.json")):
        found = "COCO annotations (annotations/instances_*.json); detection"
    elif "images" in names and names & {"train.json", "val.json"}:
        found = "COCO annotations (train.json, images/); detection"
    elif {"Annotations", "JPEGImages"} <= names:
        found = "Pascal VOC annotations; detection"
    elif {"images", "labels"} <= names or "data.yaml" in names:
        found = "YOLO annotations; detection"
    elif {"images", "masks"} <= names or {"leftImg8bit", "gtFine"} <= names:
        found = "images with masks; segmentation"
    elif {"images", "annotations"} <= names:
        found = "images with annotations; segmentation"
    if found:
        raise Refused(
            f"{printable(root)}: holds {found} is not built yet; classification and multi-label are"
        )


def holds_plain_images(path: Path) -> bool:
    """Whether a path is an image, or a folder with images in it and none in folders below."""
    if not is_path(path):
        return False
    if not path.is_dir():
        return path.is_file() and is_image(path.name)
    if not any(is_image(entry.name) for entry in visible(path)):
        return False
    return not any(images_below(path / name) for name in folders_in(path))
