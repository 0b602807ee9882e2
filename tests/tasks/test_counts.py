"""Metrics of classification."""

import math
import pickle
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score
from torch import Tensor
from torch.nn import functional as F

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed
from ninefold.tasks.counts import (
    LabelCounts,
    LabelSetCounts,
    average_precision,
    calibration_error,
)

CLASSES = tuple("abcdefg")


def drawn(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 7, generator=generator)
    return logits, torch.randint(7, (count,), generator=generator)


def rows(y: Tensor, index: Tensor) -> Batch:
    return Batch(torch.zeros(len(y), 1), y, index=index)


def counted(logits: Tensor, y: Tensor, *parts: list[int]) -> LabelCounts:
    """A count of these rows, a batch a part; -1 stands for a filler, with row 0's content."""
    counts = LabelCounts(CLASSES)
    for part in parts or [list(range(len(y)))]:
        at = torch.tensor(part)
        counts.update(logits[at.clamp(min=0)], rows(y[at.clamp(min=0)], at))
    return counts


def test_metrics_equal_those_of_a_plain_loop() -> None:
    logits, y = drawn(50)
    metrics, curves = counted(logits, y).compute()
    order = logits.argsort(dim=1, descending=True)
    hits = [int(order[i, 0]) == int(y[i]) for i in range(50)]
    in_top5 = [int(y[i]) in order[i, :5].tolist() for i in range(50)]
    assert metrics["top1"] == pytest.approx(np.mean(hits))
    assert metrics["top5"] == pytest.approx(np.mean(in_top5))
    assert metrics["loss"] == pytest.approx(float(F.cross_entropy(logits, y)), rel=1e-6)
    confusion = np.zeros((7, 7), dtype=int)
    for i in range(50):
        confusion[int(y[i]), int(order[i, 0])] += 1
    assert np.array_equal(curves["confusion"], confusion)
    per_class = [np.mean([h for h, t in zip(hits, y, strict=True) if t == c]) for c in range(7)]
    assert curves["per_class"] == pytest.approx(per_class)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6))
def test_means_over_classes_are_scikit_learns(count: int, seed: int) -> None:
    """Few samples of seven classes: some are never labelled, some never predicted."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 7, generator=generator)
    y = torch.randint(7, (count,), generator=generator)
    metrics, _ = counted(logits, y).compute()
    truth, predicted = y.numpy(), logits.argmax(dim=1).numpy()
    expected = f1_score(truth, predicted, average="macro", zero_division=0)
    assert metrics["macro_f1"] == pytest.approx(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is predicted alone has no share
        expected = balanced_accuracy_score(truth, predicted)
    assert metrics["balanced_accuracy"] == pytest.approx(expected)


def test_the_worst_mistakes_come_first_and_hits_never() -> None:
    logits, y = drawn(300)
    _, curves = counted(logits, y).compute()
    assert len(curves["worst"]) == 64
    probability = logits.softmax(dim=1)
    losses = [-math.log(float(probability[w["index"], y[w["index"]]])) for w in curves["worst"]]
    assert losses == sorted(losses, reverse=True)
    for told in curves["worst"]:
        row = probability[told["index"]]
        assert told["label"] == CLASSES[int(y[told["index"]])] != told["predicted"]
        assert told["predicted"] == CLASSES[int(row.argmax())]
        assert told["probability"] == pytest.approx(float(row.max()))
    wrong = (probability.argmax(dim=1) != y).nonzero()[:, 0]
    nll = -probability[wrong, y[wrong]].log()
    assert curves["worst"][0]["index"] == int(wrong[nll.argmax()])


def test_seven_images_on_two_ranks_count_as_on_one() -> None:
    logits, y = drawn(7)
    whole = counted(logits, y, [0, 1, 2, 3], [4, 5, 6, -1])
    first = counted(logits, y, [0, 2], [4, 6])
    second = counted(logits, y, [1, 3], [5, -1])
    first.merge(pickle.loads(pickle.dumps(second)))
    (metrics, curves), (expected, figures) = first.compute(), whole.compute()
    assert metrics == expected  # to the bit
    assert curves["worst"] == figures["worst"]
    assert np.array_equal(curves["confusion"], figures["confusion"])
    assert curves["confusion"].sum() == 7


def test_fillers_never_count() -> None:
    logits, y = drawn(7)
    plain, _ = counted(logits, y).compute()
    filled, _ = counted(logits, y, [0, 1, 2, -1, -1], [-1] * 5, [3, 4, 5, 6, -1]).compute()
    assert filled == plain


def test_a_class_without_samples_has_no_accuracy() -> None:
    logits = torch.eye(7)[:3]
    _, curves = counted(logits, torch.arange(3)).compute()
    assert curves["per_class"][:3].tolist() == [1.0, 1.0, 1.0]
    assert np.isnan(curves["per_class"][3:]).all()


def test_a_tie_of_all_classes_is_one_guess_and_not_a_hit_for_each() -> None:
    metrics, _ = counted(torch.zeros(7, 7), torch.arange(7)).compute()
    assert metrics["top1"] == pytest.approx(1 / 7)


def test_thousands_of_classes_need_no_matrix() -> None:
    names = tuple(str(i) for i in range(5000))
    counts = LabelCounts(names)
    counts.update(torch.eye(5000)[:4], rows(torch.arange(4), torch.arange(4)))
    metrics, curves = counts.compute()
    assert metrics["top1"] == 1.0
    assert "confusion" not in curves


@pytest.mark.parametrize("counts", [LabelCounts(CLASSES), LabelSetCounts(CLASSES)])
def test_nothing_counted_is_told_and_not_divided_by(counts: LabelCounts | LabelSetCounts) -> None:
    with pytest.raises(Failed, match="no sample was counted"):
        counts.compute()
    y = torch.zeros(1, 7) if isinstance(counts, LabelSetCounts) else torch.zeros(1).long()
    counts.update(torch.zeros(1, 7), rows(y, torch.tensor([-1])))
    with pytest.raises(Failed, match="no sample was counted"):
        counts.compute()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6), st.booleans())
def test_average_precision_is_scikit_learns_ties_included(count: int, seed: int, tie: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    score = torch.rand(count, 4, generator=generator)
    score = (score * 5).round() / 5 if tie else score
    truth = torch.rand(count, 4, generator=generator) < 0.4
    ours = average_precision(score, truth)
    for k in range(4):
        if truth[:, k].any():
            expected = average_precision_score(truth[:, k].numpy(), score[:, k].numpy())
            assert float(ours[k]) == pytest.approx(expected)
        else:
            assert math.isnan(float(ours[k]))


def test_metrics_of_several_labels_leave_classes_without_samples_out() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 7, generator=generator)
    truth = torch.rand(20, 7, generator=generator) < 0.3
    truth[:, 6] = False
    counts, half = LabelSetCounts(CLASSES), LabelSetCounts(CLASSES)
    counts.update(logits[::2], rows(truth[::2], torch.arange(0, 20, 2)))
    at = torch.tensor([*range(1, 20, 2), -1])
    half.update(logits[at], rows(truth[at], at))
    counts.merge(half)
    metrics, curves = counts.compute()
    expected = average_precision_score(
        truth[:, :6].numpy(), logits.sigmoid()[:, :6].numpy(), average="macro"
    )
    assert metrics["map"] == pytest.approx(expected)
    said = logits.sigmoid() >= 0.5
    some = (truth | said).any(dim=0)
    expected = f1_score(truth[:, some].numpy(), said[:, some].numpy(), average="macro")
    assert metrics["macro_f1"] == pytest.approx(expected)
    bce = F.binary_cross_entropy_with_logits(logits, truth.float())
    assert metrics["loss"] == pytest.approx(float(bce), rel=1e-6)
    assert math.isnan(curves["per_class"][6])


def test_the_worst_answers_on_several_labels_name_labels_and_guesses() -> None:
    logits = torch.tensor([[9.0, -9.0], [-2.0, 3.0], [0.5, -9.0]])
    truth = torch.tensor([[1, 0], [1, 0], [1, 1]])
    counts = LabelSetCounts(("dark", "wet"))
    counts.update(logits, rows(truth, torch.arange(3)))
    worst = counts.compute()[1]["worst"]
    assert [(w["index"], w["label"], w["predicted"]) for w in worst] == [
        (2, "dark;wet", "dark"),
        (1, "dark", "wet"),
    ]
    assert worst[1]["probability"] == pytest.approx(float(torch.tensor(3.0).sigmoid()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=50))
def test_the_calibration_error_is_that_of_a_loop_over_bins(pairs: list[tuple[int, bool]]) -> None:
    """Probabilities at thirtieths: half of them lie on an edge, which belongs to the bin below."""
    probability = torch.tensor([p / 30 for p, _ in pairs], dtype=torch.float64)
    right = torch.tensor([r for _, r in pairs])
    edges = torch.linspace(0, 1, 16, dtype=torch.float64)
    expected = 0.0
    for i, (low, high) in enumerate(pairwise(edges)):
        inside = (probability > low) & (probability <= high) | (probability == 0) & (i == 0)
        if inside.any():
            gap = right[inside].double().mean() - probability[inside].mean()
            expected += float(inside.double().mean() * gap.abs())
    assert float(calibration_error(probability, right)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["metrics_ties", "metrics_no_ties"])
def test_accuracy_loss_and_calibration_equal_the_golden_ones(
    name: str, shared_golden: Path
) -> None:
    golden = load_file(shared_golden / f"{name}.safetensors")
    logits, y = golden["logits"], golden["labels"].long()
    counts = LabelCounts(tuple(map(str, range(logits.shape[1]))))
    counts.update(logits.float(), rows(y, torch.arange(len(y))))
    metrics, _ = counts.compute()
    assert metrics["top1"] == pytest.approx(float(golden["accuracy"]))
    assert metrics["loss"] == pytest.approx(float(golden["nll"]), abs=1e-6)
    assert metrics["ece"] == pytest.approx(float(golden["ece15"]), abs=1e-6)
