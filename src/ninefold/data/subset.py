"""A part of a data set, or other parts: `ADDRESS?classes=cat,dog&per_class=100&hold_out=0.02`.

For quick trials, for the question of how much a model learns from how little, and for the
validation parts that papers cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_plus

from ninefold.core.errors import Refused, nearest, printable
from ninefold.data.listing import Found, Part, is_path
from ninefold.data.split import content_keys, some_of_each

KEYS = ("classes", "per_class", "pick", "hold_out")


@dataclass(frozen=True)
class Subset:
    """What is kept of a data set.

    Args:
        classes: Names of the classes that are kept; nothing for all.
        per_class: Images of each class that are kept in every split but `test`; 0 for all. Those
            that a larger number keeps hold those of a smaller one.
        pick: Another number keeps other images.
        hold_out: Share of the training part that is cut off for validation, in place of the set's
            own validation part, which is then the test part; 0 for neither.
    """

    classes: tuple[str, ...] = ()
    per_class: int = 0
    pick: int = 0
    hold_out: float = 0.0


def subset_of(address: Any) -> tuple[Any, Subset | None]:
    """An address without the keys of a subset, and the subset; a path that exists is no address.

    Raises:
        Refused: a key that is unknown (of a path), given twice, or of no sensible value.
    """
    if not isinstance(address, str) or "?" not in address or is_path(address):
        return address, None
    place, _, query = address.partition("?")
    pairs = [word.partition("=") for word in query.split("&") if word]
    mine = {key: value for key, _, value in pairs if key in KEYS}
    others = [f"{key}{sign}{value}" for key, sign, value in pairs if key not in KEYS]
    name = printable(address)
    if len(mine) + len(others) < len(pairs):
        raise Refused(f"{name}: a key is given twice; once would be right")
    if others and "://" not in place:
        key = others[0].partition("=")[0]
        raise Refused(f"{name}: unknown key {key!r}{nearest(key, KEYS) or ';'} {', '.join(KEYS)}")
    if not mine:
        return address, None
    classes = tuple(unquote_plus(one) for one in mine.get("classes", "").split(",") if one)
    if "classes" in mine and not classes:
        raise Refused(f"{name}: classes names none; classes=cat,dog would be right")
    if "pick" in mine and "per_class" not in mine:
        raise Refused(f"{name}: pick has no effect without per_class; leave it out, or give both")
    subset = Subset(
        classes,
        _number(name, "per_class", mine, 1),
        _number(name, "pick", mine, 0),
        _share(name, mine.get("hold_out")),
    )
    return place + ("?" + "&".join(others) if others else ""), subset


def _number(name: str, key: str, values: dict[str, str], least: int) -> int:
    told = values.get(key)
    if told is None:
        return 0
    if not told.isascii() or not told.isdecimal() or int(told) < least:
        raise Refused(f"{name}: {key} is {told!r}; a whole number from {least} on would be right")
    return int(told)


def _share(name: str, told: str | None) -> float:
    if told is None:
        return 0.0
    try:
        share = float(told)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise Refused(f"{name}: hold_out is {told!r}; a share between 0 and 1 would be right")
    return share


def free_validation(found: Found, subset: Subset, name: str) -> Found:
    """The set without a validation part, which is the test part now; as it was without `hold_out`.

    Raises:
        Refused: nothing to cut from, or a test part beside the validation part.
    """
    if not subset.hold_out or "val" not in found.parts:
        return found
    if "test" in found.parts or "train" not in found.parts:
        lacking = "a test part, too" if "test" in found.parts else "no training part"
        raise Refused(
            f"{name}: has a validation part and {lacking}; hold_out cuts one off the training part "
            "and makes the set's own the test part; leave it out"
        )
    parts = {"test" if split == "val" else split: part for split, part in found.parts.items()}
    note = "hold_out: the set's validation part is the test part"
    return replace(found, parts=parts, notes=(*found.notes, note))


def keep_classes(found: Found, subset: Subset, name: str) -> Found:
    """Only examples of the chosen classes, which keep their order.

    Of several labels an example keeps those that are chosen, and goes where none is.

    Raises:
        Refused: a class that the set does not have.
    """
    if not subset.classes:
        return found
    for one in subset.classes:
        if one not in found.classes:
            hint = nearest(one, found.classes) or f"; there are {', '.join(found.classes[:20])}"
            raise Refused(f"{name}: has no class {printable(one)!r}{hint}")
    kept = tuple(one for one in found.classes if one in subset.classes)
    ids = {found.classes.index(one): i for i, one in enumerate(kept)}
    parts: dict[str, Part] = {}
    for split, part in found.parts.items():
        labels = [_kept_label(label, ids) for label in part.labels]
        places = [i for i, label in enumerate(labels) if label not in (None, ())]
        if places:
            parts[split] = replace(part.take(places), labels=[labels[i] for i in places])
    return replace(found, classes=kept, parts=parts)


def _kept_label(label: Any, ids: dict[int, int]) -> Any:
    if isinstance(label, tuple):
        several: Sequence[int] = label
        return tuple(sorted(ids[one] for one in several if one in ids))
    return ids.get(label)


def keep_some(found: Found, subset: Subset, name: str) -> Found:
    """So many images of each class in every split but `test`, chosen by their content.

    Raises:
        Refused: images with several labels each.
    """
    if not (subset.classes or subset.per_class):
        return found
    told = [f"{len(found.classes)} classes"] if subset.classes else []
    parts = dict(found.parts)
    if subset.per_class:
        if found.task != "classification":
            raise Refused(f"{name}: per_class needs images with one label each; these have several")
        for split, part in found.parts.items():
            if split != "test":
                keys = part.keys or content_keys(part.files)
                places = some_of_each(
                    keys, part.labels, subset.per_class, salt=f"pick {subset.pick}"
                )
                parts[split] = part.take(places)
        told.append(f"{subset.per_class} images a class at the most, but of test all")
    counts = ", ".join(f"{len(part.files)} {split}" for split, part in parts.items())
    note = f"part of the set: {'; '.join(told)} ({counts})"
    return replace(found, parts=parts, notes=(*found.notes, note))
