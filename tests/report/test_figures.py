"""Every figure survives every input without a warning, at the width that pages show."""

import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from ninefold.report.figures import (
    confusion_matrix,
    feature_map,
    leading,
    learning_curves,
    per_class,
)
from ninefold.report.sheet import image_sheet
from ninefold.report.style import MISSING, class_names, fitted, text, unreadable, without_font

NASTY = [
    "\u732b",
    "$x^{$",
    "a\nb\tc",
    "w" * 300,
    "",
    "\U0001f9ff",
    "\udcff",
    "caf\u00e9",
    "_{",
    "\\frac",
]


def width(path: Path) -> int:
    with Image.open(path) as image:
        return image.width


def counts(k: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, (k, k))


@pytest.mark.parametrize("k", [1, 2, 12, 13, 40, 41, 1000])
def test_a_confusion_matrix_is_drawn_for_any_number_of_classes(tmp_path: Path, k: int) -> None:
    confusion_matrix(counts(k), [f"class {i}" for i in range(k)], tmp_path / "a.png")
    assert width(tmp_path / "a.png") == 800


def test_a_matrix_without_images_or_mistakes_is_drawn(tmp_path: Path) -> None:
    names = [str(i) for i in range(20)]
    confusion_matrix(np.zeros((20, 20)), names, tmp_path / "none.png")
    confusion_matrix(np.eye(20) * 5, names, tmp_path / "perfect.png")


def test_a_lone_mistake_among_a_thousand_classes_stays_visible(tmp_path: Path) -> None:
    names = [str(i) for i in range(1000)]
    clean, wrong = np.eye(1000) * 50, np.eye(1000) * 50
    wrong[200, 700] = 50
    for name, matrix in (("clean", clean), ("wrong", wrong)):
        confusion_matrix(matrix, names, tmp_path / f"{name}.png")
    pictures = [
        np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in ("clean", "wrong")
    ]
    upper = slice(0, 700)  # the list of mistakes stands below
    assert np.abs(pictures[0][upper] - pictures[1][upper]).max() > 80


def test_names_that_no_font_has_and_names_like_formulas_are_drawn(tmp_path: Path) -> None:
    k = len(NASTY)
    confusion_matrix(counts(k), NASTY, tmp_path / "matrix.png")
    per_class(np.linspace(0, 1, k), NASTY, tmp_path / "classes.png")
    image = np.zeros((3, 8, 8), np.uint8)
    image_sheet([image] * k, NASTY, tmp_path / "sheet.png", title=" ".join(NASTY[:8]))


def test_texts_are_one_line_of_drawable_letters() -> None:
    assert text("a\n b\x07") == f"a b{MISSING}"
    assert text("0123456789", 5) == "01\u202689"
    assert len(text("w" * 300, 24)) == 24


def test_captions_are_as_long_as_fits() -> None:
    assert fitted("cat", 100, 8) == "cat"
    short = fitted("W" * 50, 100, 8)
    assert len(fitted("i" * 50, 100, 8)) > len(short) > 3
    assert "\u2026" in short
    assert fitted("W", 1, 8) == ""


def test_names_that_look_alike_get_their_number() -> None:
    assert class_names(["n" * 30 + "a", "n" * 30 + "b", "cat"], 9)[2] == "cat"
    short = class_names(["n" * 40, "n" * 50, "cat"], 9)
    assert len(set(short)) == 3
    assert short[0].startswith("0: ")


def test_names_without_a_font_become_numbers_and_are_told() -> None:
    lost = "\ue000\ue001\ue002"  # an area for private use
    names = ["cat", lost, f"caf\u00e9 {lost[0]}", "dog"]
    assert unreadable(names) == [lost]
    assert class_names(names, 20) == ["cat", "class 1", f"2: caf\u00e9 {MISSING}", "dog"]
    assert "\\ue000\\ue001\\ue002" in without_font(names)
    assert without_font(["cat"]) == ""


@pytest.mark.parametrize("k", [1, 3, 40, 41, 1000])
def test_accuracies_are_drawn_for_any_number_of_classes(tmp_path: Path, k: int) -> None:
    values = np.linspace(0, 1, k)
    values[0] = math.nan
    per_class(torch.from_numpy(values), [str(i) for i in range(k)], tmp_path / "a.png")
    assert width(tmp_path / "a.png") == 800


def test_curves_survive_missing_values_repeated_steps_and_an_empty_log(tmp_path: Path) -> None:
    log = [{"step": s, "epoch": 0.1 * s, "loss": 2 / (s + 1), "lr": 1e-3} for s in range(60)]
    log += [
        {"step": 30, "loss": None, "lr": 1e-3},
        {"step": 31, "loss": math.inf},
        {"step": 40, "split": "val", "loss": 1.0, "top1": 0.5, "top5": None},
        {"step": 60, "split": "val", "loss": 0.9, "top1": 0.6, "data": "words"},
    ]
    learning_curves(log, tmp_path / "figures" / "curves.png")
    assert width(tmp_path / "figures" / "curves.png") == 800
    for name, lines in (("one", log[:1]), ("none", []), ("val", log[-1:])):
        learning_curves(lines, tmp_path / f"{name}.png")


def test_curves_show_the_leading_metric_and_no_other(tmp_path: Path) -> None:
    def drawn(name: str, **others: float) -> np.ndarray:
        checks = [
            {"step": s, "split": "val", "loss": 1.0, "count": 7, "top1": s / 99, **others}
            for s in (10, 60)
        ]
        learning_curves(checks, tmp_path / f"{name}.png")
        assert leading(checks) == "top1"
        return np.asarray(Image.open(tmp_path / f"{name}.png"))

    alone = drawn("alone")
    assert np.array_equal(alone, drawn("all", top5=0.9, ece=0.1, macro_f1=0.3))
    learning_curves([], tmp_path / "nothing.png")
    assert alone.shape[0] > np.asarray(Image.open(tmp_path / "nothing.png")).shape[0]
    assert leading([{"step": 1, "split": "val", "loss": 1.0, "best": True}]) == ""


@pytest.mark.parametrize("count", [0, 1, 2, 9, 64])
def test_a_sheet_is_drawn_for_any_number_of_images(tmp_path: Path, count: int) -> None:
    images = [torch.full((3, 16, 20), i, dtype=torch.uint8) for i in range(count)]
    image_sheet(images, [f"cat\nline {i}" for i in range(count)], tmp_path / "a.png", title="t")
    assert width(tmp_path / "a.png") == 800


def test_a_sheet_takes_any_number_of_channels_and_mixed_sizes(tmp_path: Path) -> None:
    shapes = [(1, 8, 8), (2, 8, 30), (3, 200, 9), (5, 300, 400)]
    image_sheet([np.zeros(s, np.uint8) for s in shapes], ["x"] * 4, tmp_path / "a.png")


def test_drawing_leaves_the_users_settings_alone(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 31.0, "axes.grid": True}):
        per_class(np.ones(2), ["a", "b"], tmp_path / "a.png")
        assert matplotlib.rcParams["font.size"] == 31.0
        assert matplotlib.rcParams["axes.grid"] is True


@pytest.mark.parametrize("k", [0, 1, 10, 11, 1000])
def test_a_map_of_features_is_drawn_for_any_number_of_classes(tmp_path: Path, k: int) -> None:
    points = np.random.default_rng(0).normal(size=(60, 2))
    labels = np.arange(60) % k if k else None
    classes = [NASTY[i % len(NASTY)] for i in range(k)]
    feature_map(points, labels, classes, (0.5, 0.25), tmp_path / "a.png")
    assert width(tmp_path / "a.png") == 800
