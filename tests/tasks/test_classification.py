"""Losses and predictions of classification."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused
from ninefold.core.objects import name_of
from ninefold.tasks.classification import Classification
from ninefold.tasks.config import Loss
from ninefold.tasks.create import make_task
from ninefold.tasks.task import Metrics, Task

CLASSES = ("ant", "bee", "cat")
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.5, 0.2], [0.0, 0.0, 0.0], [-3.0, 1.0, 4.0]])


class Says(nn.Module):
    """A model that says what it was made to say."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> object:
        return self.output


def batch(y: Tensor) -> Batch:
    return Batch(torch.zeros(len(y), 3, 2, 2), y, index=torch.arange(len(y)))


def loss(task: Classification, y: Tensor, logits: Tensor = LOGITS) -> dict[str, Tensor]:
    return task.loss(Says(logits), batch(y))


def test_the_loss_is_cross_entropy_with_smoothed_targets() -> None:
    y, smoothing = torch.tensor([0, 1, 2, 0]), 0.3
    logs = loss(Classification(CLASSES, Loss(label_smoothing=smoothing)), y)
    target = F.one_hot(y, 3) * (1 - smoothing) + smoothing / 3
    expected = -(target * LOGITS.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(logs["loss"], expected)
    assert float(logs["top1"]) == 0.5


def test_soft_targets_are_smoothed_once() -> None:
    y = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]])
    logs = loss(Classification(CLASSES, Loss(label_smoothing=0.1)), y)
    target = y * 0.9 + 0.1 / 3
    expected = -(target * LOGITS.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(logs["loss"], expected)
    assert float(logs["top1"]) == 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_several_labels_are_smoothed_towards_one_half_each(dtype: torch.dtype) -> None:
    y = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]])
    task = Classification(CLASSES, Loss(label_smoothing=0.2), multilabel=True)
    logs = loss(task, y.to(dtype))
    target = torch.where(y == 1, 0.9, 0.1)
    p = LOGITS.sigmoid()
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    torch.testing.assert_close(logs["loss"], expected)
    assert set(logs) == {"loss"}


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_sigmoid_each_is_summed_over_classes_and_averaged_over_images(multilabel: bool) -> None:
    y = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]])
    task = Classification(CLASSES, Loss(sigmoid=True), multilabel=multilabel)
    p = LOGITS.sigmoid()
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).sum(dim=1)
    torch.testing.assert_close(loss(task, y)["loss"], expected.mean())
    told = task.loss(Says(LOGITS), replace(batch(y), extra={"operations": torch.zeros(4)}))
    torch.testing.assert_close(told["each"], expected)


def test_class_ids_are_asked_for_one_by_one_and_smoothed_over_all_classes() -> None:
    y = torch.tensor([0, 1, 2, 0])
    task = Classification(CLASSES, Loss(sigmoid=True, label_smoothing=0.3))
    soft = F.one_hot(y, 3) * 0.7 + 0.1
    p = LOGITS.sigmoid()
    expected = -(soft * p.log() + (1 - soft) * (1 - p).log()).sum(dim=1).mean()
    logs = loss(task, y)
    torch.testing.assert_close(logs["loss"], expected)
    assert float(logs["top1"]) == 0.5


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_loss_of_half_precision_logits_is_computed_in_full(multilabel: bool) -> None:
    y = torch.ones(4, 3) if multilabel else torch.tensor([0, 1, 2, 0])
    half = (LOGITS * 3.3).bfloat16()
    task = Classification(CLASSES, Loss(), multilabel=multilabel)
    found = loss(task, y, half)["loss"]
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(task, y, half.float())["loss"])


def test_the_loss_can_be_learned_from() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    logs = Classification(CLASSES, Loss()).loss(model, batch(torch.tensor([0, 1])))
    logs["loss"].backward()
    assert not logs["top1"].requires_grad
    assert model[1].bias.grad is not None


def doubled(logits: Tensor, target: Tensor) -> Tensor:
    return 2 * F.cross_entropy(logits, target)


def unreduced(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="none")


@pytest.mark.parametrize("name", [name_of(doubled), name_of(unreduced), "torch.nn:MultiMarginLoss"])
def test_the_users_own_loss_is_a_function_or_a_class(name: str) -> None:
    y = torch.tensor([0, 1, 2, 0])
    task = Classification(CLASSES, Loss(custom=name))
    if name == name_of(unreduced):
        with pytest.raises(Failed, match=r"unreduced: gave a tensor \(4,\); a loss is one number"):
            loss(task, y)
    elif name == name_of(doubled):
        assert float(loss(task, y)["loss"]) == pytest.approx(2 * float(F.cross_entropy(LOGITS, y)))
    else:
        assert torch.equal(loss(task, y)["loss"], nn.MultiMarginLoss()(LOGITS, y))


def test_smoothing_beside_the_users_own_loss_is_told_to_have_no_effect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        Classification(CLASSES, Loss(custom=name_of(doubled), label_smoothing=0.1))
    assert "label_smoothing has no effect" in caplog.text


def test_what_cannot_be_a_loss_is_refused() -> None:
    with pytest.raises(Refused, match="a float; a loss is a function or a class"):
        Classification(CLASSES, Loss(custom="math:pi"))


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (torch.zeros(4, 5), r"a tensor \(4, 5\)"),
        (torch.zeros(4), r"a tensor \(4,\)"),
        (torch.zeros(4, 1), r"a tensor \(4, 1\)"),
        ({"logits": LOGITS}, "dict"),
    ],
)
def test_an_output_that_is_not_logits_for_the_classes_is_told(output: object, told: str) -> None:
    task = Classification(CLASSES, Loss())
    wanted = rf"gave {told}; logits for 3 classes have the form \(batch, 3\)"
    with pytest.raises(Failed, match=wanted):
        task.loss(Says(output), batch(torch.tensor([0, 1, 2, 0])))
    with pytest.raises(Failed, match=wanted):
        task.predict(output, batch(torch.tensor([0, 1, 2, 0])), top=1)


def test_predictions_tell_label_probability_uncertainty_and_the_runners_up() -> None:
    task = Classification(CLASSES, Loss())
    records = task.predict(LOGITS, batch(torch.zeros(4)), top=2)
    assert [record["label"] for record in records] == ["ant", "bee", records[2]["label"], "cat"]
    assert [len(record["top"]) for record in records] == [2] * 4
    for record, row in zip(records, LOGITS.softmax(dim=1).tolist(), strict=True):
        entropy = -sum(p * math.log(p) for p in row)
        assert record["uncertainty"] == pytest.approx(entropy / math.log(3), abs=1e-6)
        assert record["probability"] == pytest.approx(max(row))
        assert record["top"][0] == (record["label"], record["probability"])
        assert record["top"][1][1] == pytest.approx(sorted(row)[1])
    assert records[2]["uncertainty"] == pytest.approx(1.0)


def test_a_prediction_beyond_doubt_has_no_uncertainty() -> None:
    sure = torch.tensor([[1000.0, 0.0, 0.0]])
    [record] = Classification(CLASSES, Loss()).predict(sure, batch(torch.zeros(1)), top=9)
    assert record["uncertainty"] == 0.0
    assert record["top"] == [("ant", 1.0), ("bee", 0.0), ("cat", 0.0)]


def test_predictions_of_several_labels_join_the_likely_ones() -> None:
    task = Classification(CLASSES, Loss(), multilabel=True)
    logits = torch.tensor([[0.5, -9.0, 2.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0]])
    records = task.predict(logits, batch(torch.zeros(3)), top=1)
    assert [record["label"] for record in records] == ["cat;ant", "", "ant;bee;cat"]
    assert records[0]["top"] == [("cat", pytest.approx(float(torch.tensor(2.0).sigmoid())))]
    assert records[0]["probability"] == records[0]["top"][0][1]
    assert records[2]["uncertainty"] == pytest.approx(1.0)
    entropies = [-sum(q * math.log(q) for q in (p, 1 - p)) for p in logits[1].sigmoid().tolist()]
    expected = sum(entropies) / 3 / math.log(2)
    assert records[1]["uncertainty"] == pytest.approx(expected, abs=1e-6)


def test_tasks_are_made_by_name() -> None:
    single = make_task("classification", CLASSES, Loss())
    several = make_task("multilabel", CLASSES, Loss())
    assert (single.name, single.best) == ("classification", "top1")
    assert (several.name, several.best) == ("multilabel", "map")
    for task in (single, several):
        assert isinstance(task, Task)
        assert isinstance(task.metrics(), Metrics)
        assert task.classes == CLASSES


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        ("clasification", CLASSES, "no task is called 'clasification'; did you mean 'classif"),
        ("detect", CLASSES, "tasks are classification, multilabel"),
        ("classification", ("ant",), "classes are 'ant'; classification needs two or more"),
        ("classification", (), "classes are none"),
        ("multilabel", (), "classes are none"),
    ],
)
def test_tasks_that_cannot_be_are_refused(
    name: str, classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        make_task(name, classes, Loss())
