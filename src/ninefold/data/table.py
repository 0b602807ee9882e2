"""Tables: a row an example, columns `image` and `label`, and where wanted `split` and `group`."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ninefold.core.errors import Refused, nearest, printable
from ninefold.data.listing import SPLITS, WHOLE, Found, files_part, natural

TABLES = (".csv", ".tsv", ".parquet")
"""Endings of files that are read as tables."""

_OTHER_INPUTS = ("video", "audio")


def look_table(path: Path, *, task: str = "auto") -> Found:
    """The examples of a table.

    Image paths count from the table's folder. Labels joined by `;` are several (multi-label), and
    then an empty one is none; Parquet may hold lists instead.

    Args:
        task: `multilabel` reads single labels as sets of one; `classification` leaves sound aside.

    Raises:
        Refused: not a table, a column or a label lacking, an unknown split, a missing file.
    """
    where = printable(path)
    rows = table_rows(path)
    if not rows:
        raise Refused(f"{where}: holds no rows")
    _check_columns(where, list(rows[0][1]), task)
    several = task == "multilabel" or any(
        not isinstance(row["label"], str) or ";" in row["label"] for _, row in rows
    )
    if several and task == "classification":
        raise Refused(f"{where}: rows have several labels; that is task multilabel")
    names = [_names(where, line, row["label"], several) for line, row in rows]
    classes = tuple(sorted({name for row in names for name in row}, key=natural))
    ids = {name: i for i, name in enumerate(classes)}
    labels: list[Any] = [tuple(sorted({ids[name] for name in row})) for row in names]
    if not several:
        labels = [label[0] for label in labels]
    files = _files(where, path.parent, rows)
    groups = [row.get("group", "") for _, row in rows] if "group" in rows[0][1] else []
    whole = files_part(files, labels, groups)
    places: dict[str, list[int]] = {}
    for i, (line, row) in enumerate(rows):
        places.setdefault(_split(where, line, row), []).append(i)
    parts = {split: whole.take(places[split]) for split in (*dict.fromkeys(SPLITS.values()), WHOLE)
             if split in places}  # fmt: skip
    if "train" in parts:
        _refuse_unseen(where, parts["train"].labels, labels, classes)
    return Found(classes, parts, "multilabel" if several else "classification")


def table_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Line (or row) number and values of every row, under names of columns in lower case.

    Raises:
        Refused: not a table.
    """
    parquet = path.suffix.lower() == ".parquet"
    try:
        return list(_parquet(path) if parquet else _csv(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{printable(path)}: cannot be read as a table: {error}") from None


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        head = [name.strip().lower() for name in next(reader, [])]
        for values in reader:
            if values:
                values += [""] * (len(head) - len(values))
                yield reader.line_num, dict(zip(head, map(str.strip, values), strict=False))


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise Refused(
            f"{printable(path)}: reading Parquet needs the 'pyarrow' package; install it with: "
            "pip install 'ninefold[data]'"
        ) from None
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise OSError(" ".join(str(error).split())) from None
    for number, row in enumerate(table.to_pylist(), 1):
        yield number, {name.strip().lower(): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [str(item).strip() for item in value]
    return "" if value is None else str(value).strip()


def _check_columns(where: str, columns: Sequence[str], task: str) -> None:
    known = ", ".join(printable(name) for name in columns)
    other = [name for name in _OTHER_INPUTS if name in columns]
    if other and not ("image" in columns and task == "classification"):
        aside = "; --task classification takes the images alone" if "image" in columns else ""
        raise Refused(f"{where}: has a column {other[0]!r}; that task is not built yet{aside}")
    for needed in ("image", "label"):
        if needed not in columns:
            hint = nearest(needed, columns, f"it has {known}")
            raise Refused(f"{where}: has no column {needed!r}{hint}")


def _names(where: str, line: int, label: Any, several: bool) -> list[str]:
    names = label.split(";") if isinstance(label, str) else label
    names = [name.strip() for name in names if name.strip()]
    if not names and not several:
        raise Refused(f"{where}: line {line} has no label")
    return names


def _files(where: str, folder: Path, rows: list[tuple[int, dict[str, Any]]]) -> list[str]:
    files = [str(folder / row["image"]) for _, row in rows]
    missing = [i for i, file in enumerate(files) if not Path(file).is_file()]
    if missing:
        line, row = rows[missing[0]]
        more = f", nor are {len(missing) - 1} other files" if len(missing) > 1 else ""
        raise Refused(
            f"{where}: line {line}: {printable(row['image'])!r} is not there{more}; paths count "
            "from the table's folder"
        )
    return files


def _split(where: str, line: int, row: dict[str, Any]) -> str:
    if "split" not in row:
        return WHOLE
    split = SPLITS.get(row["split"].lower(), "")
    if not split:
        raise Refused(
            f"{where}: line {line}: split {printable(row['split'])!r} is none of train, val, test"
        )
    return split


def _refuse_unseen(
    where: str, trained: Sequence[Any], labels: Sequence[Any], classes: tuple[str, ...]
) -> None:
    def flat(values: Sequence[Any]) -> set[int]:
        return {one for v in values for one in (v if isinstance(v, tuple) else (v,))}

    unseen = sorted(flat(labels) - flat(trained))
    if unseen:
        raise Refused(
            f"{where}: class {printable(classes[unseen[0]])!r} has no row in the training split"
        )
