"""Metrics of classification, from what is kept of every sample.

A few numbers a sample are kept on the device, and nothing is computed before `compute`: so no batch
waits for the device, and samples counted on several ranks give to the bit what one process gives.
Shapes: b samples of a batch, n of all, k classes.
"""

# torch leaves the type of `Tensor.tolist` open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed

LARGEST_MATRIX = 1000
"""With more classes than this, no confusion matrix is made: it could neither be held nor seen."""
WORST = 64
"""Mistakes that are told, the worst first."""
BINS = 15


class Samples:
    """Columns with one row a sample; rows of fillers are dropped when the columns are read."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Tensor]] = []

    def add(self, batch: Batch, **columns: Tensor) -> None:
        index = batch.index
        if index is None:
            raise Failed("metrics: the batch says no index; every counted sample has one")
        self._parts.append({"index": index, **columns})

    def merge(self, other: "Samples") -> None:
        self._parts.extend(other._parts)

    def columns(self) -> dict[str, Tensor]:
        """All columns on the CPU, in the order of `index`, so that sums do not depend on ranks."""
        if not self._parts:
            raise Failed("metrics: no sample was counted; evaluation needs one at the least")
        parts = [{name: t.cpu() for name, t in part.items()} for part in self._parts]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        order = joined["index"].argsort(stable=True)
        order = order[joined["index"][order] >= 0]
        if not len(order):
            raise Failed("metrics: no sample was counted; evaluation needs one at the least")
        return {name: column[order] for name, column in joined.items()}

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another rank: columns on the CPU."""
        return {"_parts": [{k: t.cpu() for k, t in part.items()} for part in self._parts]}


class LabelCounts:
    """Metrics of one label a sample: `top1 top5 loss ece macro_f1 balanced_accuracy`.

    `loss` is the mean negative log-likelihood of the plain labels, whatever was minimised; `ece`
    the calibration error of the largest probability over 15 bins; `macro_f1` the mean over classes
    that are among the labels or the predictions; `balanced_accuracy` the mean over classes that
    have samples of the share that is right. With 5 classes or fewer, `top5` is 1.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self._samples = Samples()

    @torch.no_grad()
    def update(self, output: Float[Tensor, "b k"], batch: Batch) -> None:
        """Count one batch of logits against class ids `(b,)`."""
        truth = batch.y
        assert isinstance(truth, Tensor)
        assert truth.ndim == 1
        log_probability = output.float().log_softmax(dim=1)
        best = log_probability.topk(min(5, len(self._classes)), dim=1).indices
        value, predicted = log_probability.max(dim=1)
        self._samples.add(
            batch,
            truth=truth,
            predicted=predicted,
            probability=value.exp(),
            in_top5=(best == truth[:, None]).any(dim=1),
            loss=-log_probability.gather(1, truth[:, None])[:, 0],
        )

    def merge(self, other: "LabelCounts") -> None:
        """Add the samples that another rank counted."""
        self._samples.merge(other._samples)

    def compute(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics, and for figures `confusion` (true classes in rows), `per_class` and `worst`.

        `per_class` holds the share of each class's samples that is right, NaN where it has none;
        `worst` the mistakes of greatest loss as `index label predicted probability`.

        Raises:
            Failed: nothing was counted.
        """
        rows, k = self._samples.columns(), len(self._classes)
        truth, predicted = rows["truth"], rows["predicted"]
        right = truth == predicted
        metrics = {
            "top1": _mean(right),
            "top5": _mean(rows["in_top5"]),
            "loss": _mean(rows["loss"]),
            "ece": float(calibration_error(rows["probability"], right)),
        }
        total, hits, said = (
            torch.bincount(ids, minlength=k).double() for ids in (truth, truth[right], predicted)
        )
        metrics["macro_f1"] = macro_f1(hits, total, said)
        metrics["balanced_accuracy"] = float((hits / total).nanmean())
        curves: dict[str, Any] = {
            "per_class": (hits / total).numpy(),
            "worst": self._worst(rows),
        }
        if k <= LARGEST_MATRIX:
            cells = torch.bincount(truth * k + predicted, minlength=k * k)
            curves["confusion"] = cells.view(k, k).numpy()
        return metrics, curves

    def _worst(self, rows: dict[str, Tensor]) -> list[dict[str, Any]]:
        wrong = (rows["truth"] != rows["predicted"]).nonzero()[:, 0]
        order = rows["loss"][wrong].argsort(descending=True, stable=True)[:WORST]
        return [
            {
                "index": int(rows["index"][i]),
                "label": self._classes[int(rows["truth"][i])],
                "predicted": self._classes[int(rows["predicted"][i])],
                "probability": float(rows["probability"][i]),
            }
            for i in wrong[order].tolist()
        ]


class LabelSetCounts:
    """Metrics of several labels a sample: `map loss macro_f1`.

    `map` is the mean over classes of average precision, classes without a sample left out; `loss`
    the mean binary cross-entropy of the plain labels, whatever was minimised; `macro_f1` takes a
    label for given from a probability of 0.5 on.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self._samples = Samples()

    @torch.no_grad()
    def update(self, output: Float[Tensor, "b k"], batch: Batch) -> None:
        """Count one batch of logits against targets `(b, k)` of 0 and 1."""
        truth = batch.y
        assert isinstance(truth, Tensor)
        assert truth.ndim == 2
        logits = output.float()
        loss = F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
        self._samples.add(
            batch, truth=truth > 0.5, probability=logits.sigmoid(), loss=loss.mean(dim=1)
        )

    def merge(self, other: "LabelSetCounts") -> None:
        """Add the samples that another rank counted."""
        self._samples.merge(other._samples)

    def compute(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics, and for figures `per_class` (average precision) and `worst`.

        `worst` are the samples of greatest loss as `index label predicted probability`: labels
        joined by `;`, and of the answer that is most wrong the probability it was given.

        Raises:
            Failed: nothing was counted.
        """
        rows = self._samples.columns()
        per_class = average_precision(rows["probability"], rows["truth"])
        metrics = {"map": float(per_class.nanmean()), "loss": _mean(rows["loss"])}
        truth, said = rows["truth"], rows["probability"] >= 0.5
        sums = (part.sum(dim=0).double() for part in (truth & said, truth, said))
        metrics["macro_f1"] = macro_f1(*sums)
        return metrics, {"per_class": per_class.numpy(), "worst": self._worst(rows)}

    def _worst(self, rows: dict[str, Tensor]) -> list[dict[str, Any]]:
        truth, probability = rows["truth"], rows["probability"]
        predicted = probability >= 0.5
        wrong = (truth != predicted).any(dim=1).nonzero()[:, 0]
        order = rows["loss"][wrong].argsort(descending=True, stable=True)[:WORST]
        return [
            {
                "index": int(rows["index"][i]),
                "label": self._names(truth[i]),
                "predicted": self._names(predicted[i]),
                "probability": float((probability[i] - truth[i].float()).abs().max()),
            }
            for i in wrong[order].tolist()
        ]

    def _names(self, chosen: Bool[Tensor, " k"]) -> str:
        return ";".join(self._classes[i] for i in chosen.nonzero()[:, 0].tolist())


def macro_f1(
    hits: Float[Tensor, " k"], labels: Float[Tensor, " k"], predictions: Float[Tensor, " k"]
) -> float:
    """The mean over classes of the harmonic mean of precision and recall.

    Classes that are neither labelled nor predicted are left out; where none is left it is 0.

    Args:
        hits: Samples of each class that are right.
        labels: Samples that have it.
        predictions: Samples that are taken for it.
    """
    total = labels + predictions
    scores = (2 * hits / total)[total > 0]
    return float(scores.mean()) if len(scores) else 0.0


def average_precision(
    score: Float[Tensor, "n k"], truth: Bool[Tensor, "n k"]
) -> Float[Tensor, " k"]:
    """Area under each class's steps of precision over recall, NaN for a class without a sample.

    Samples of equal score come in together, so their order does not count.

    Source: as scikit-learn's `average_precision_score`; no interpolation.
    """
    n = len(score)
    score, order = score.sort(dim=0, descending=True)
    hit = truth.gather(0, order).double()
    position = torch.arange(n)[:, None]
    ends_tie = torch.cat([score[1:] != score[:-1], torch.ones_like(score[:1], dtype=torch.bool)])
    end = position.where(ends_tie, torch.tensor(n)).flip(0).cummin(dim=0).values.flip(0)
    precision = hit.cumsum(dim=0).gather(0, end) / (end + 1)
    return (hit * precision).sum(dim=0) / hit.sum(dim=0)


def calibration_error(
    probability: Float[Tensor, " n"], right: Bool[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Mean gap between confidence and accuracy, over 15 bins of equal width, by their sizes.

    Source: Guo et al. 2017, arXiv 1706.04599, equation 3; bins are open below and closed above.
    """
    inner = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]
    bins = torch.bucketize(probability.double(), inner)
    gap = torch.zeros(BINS, dtype=torch.float64)
    gap.index_add_(0, bins, right.double() - probability.double())
    return gap.abs().sum() / len(probability)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
