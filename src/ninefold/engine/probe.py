"""Probes of features: chosen on the validation part, measured once on the test part."""

# torch leaves some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from ninefold.core.batch import Batch
from ninefold.core.errors import Refused, nearest
from ninefold.core.results import Result
from ninefold.engine.embed import Embeddings
from ninefold.engine.evaluate import versions
from ninefold.tasks.config import Loss
from ninefold.tasks.create import make_task
from ninefold.tasks.probe import TEMPERATURE, Linear, fit_linear, neighbours, votes

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Of the linear probe's regularisation, beside the mean cross-entropy; the strongest first."""
NEIGHBOURS = (20, 10, 5, 1)
"""Source: of these k, DINO (arXiv 2104.14294, section 4.1) uses 10 and 20."""


@dataclass(frozen=True)
class Probed:
    """A probe's numbers, and the classifier where it is a linear one."""

    result: Result
    linear: Linear | None = None


def probe(
    embeddings: Embeddings, kind: str, *, device: torch.device | None = None, step: int = 0
) -> Probed:
    """Fit a probe on the training part, choose on the validation part, measure the test part.

    Of equally good choices the more cautious one counts: the stronger regularisation, more
    neighbours. Where the data have no test part, the validation part is measured and the result
    says so.

    Args:
        kind: `linear` (logistic regression; with several labels one a class) or `knn` (votes
            weighted by cosine, temperature 0.07).
        device: Where it computes, without it the CPU; the features stay where they are.
        step: Optimizer steps behind the model, for the result.

    Returns:
        Metrics `top1 top5 nll ece` (of `knn` no `nll`, which is infinite where the true class has
        no vote; its `top5` counts classes with votes only), or `map` and, if linear, `loss`.

    Raises:
        Refused: no such probe, no labels, or no training or validation part.
    """
    if kind not in PROBES:
        hint = nearest(kind, PROBES, f"there are {', '.join(PROBES)}")
        raise Refused(f"probe: none is called {kind!r}{hint}")
    check_probed(embeddings.splits, embeddings.task)
    splits = embeddings.splits
    last = "test" if "test" in splits else "val"
    parts = _Parts(embeddings, last, device or torch.device("cpu"))
    metrics, chosen, linear = PROBES[kind](parts)
    conditions: dict[str, Any] = {
        "images": splits[last].stop - splits[last].start, "probe": kind, **chosen,
        "training_images": len(parts.rows("train")),
        **({"flattered": "lambda or k was chosen on this split"} if last == "val" else {}),
        **{key: v for key, v in embeddings.about.items() if key != "preprocess"},
        "device": parts.device.type, **versions(),
    }  # fmt: skip
    return Probed(Result(last, step, metrics, conditions), linear)


def check_probed(splits: Iterable[str], task: str) -> None:
    """See that data can be probed.

    Raises:
        Refused: they have no labels, or no training or validation part.
    """
    if not task:
        raise Refused("probe: the images have no labels; put them into one folder a class")
    lacking = [split for split in ("train", "val") if split not in splits]
    if lacking:
        raise Refused(
            f"probe: the data have no {' and no '.join(lacking)} part, only {', '.join(splits)}; "
            "a probe is fitted on train and chosen on val"
        )


@dataclass(frozen=True)
class _Parts:
    """What the probes are fitted, chosen and measured on."""

    embeddings: Embeddings
    last: str
    device: torch.device

    @property
    def multilabel(self) -> bool:
        return self.embeddings.task == "multilabel"

    def rows(self, split: str) -> Tensor:
        return self.embeddings.features[self.embeddings.splits[split]]

    def truth(self, split: str) -> Tensor:
        assert self.embeddings.labels is not None
        return self.embeddings.labels[self.embeddings.splits[split]]

    def metrics(self, output: Tensor, split: str) -> dict[str, float]:
        """Of logits, by the task's own count."""
        y = self.truth(split)
        count = make_task(self.embeddings.task, self.embeddings.classes, Loss()).metrics()
        count.update(output, Batch(output, y, torch.arange(len(y))))
        numbers, _ = count.compute()
        if not self.multilabel:
            numbers["nll"] = numbers.pop("loss")
        return numbers

    @property
    def metric(self) -> str:
        """What is chosen by."""
        return "map" if self.multilabel else "top1"

    def told(self, value: float) -> dict[str, float]:
        """What the choice reached."""
        return {f"val_{self.metric}": value}


Found = tuple[dict[str, float], dict[str, Any], Linear | None]
"""Metrics on the last split, what was chosen, and the classifier."""


def _linear(parts: _Parts) -> Found:
    found: tuple[float, float, Linear] | None = None
    path = fit_linear(
        parts.rows("train"),
        parts.truth("train"),
        num_classes=len(parts.embeddings.classes),
        strengths=STRENGTHS,
        device=parts.device,
    )
    for strength, linear in path:
        value = parts.metrics(linear.logits(parts.rows("val")), "val")[parts.metric]
        if found is None or value > found[0]:
            found = value, strength, linear
    assert found is not None
    value, strength, linear = found
    metrics = parts.metrics(linear.logits(parts.rows(parts.last)), parts.last)
    return metrics, {"lambda": strength, **parts.told(value)}, linear


def _knn(parts: _Parts) -> Found:
    x = parts.rows("train")
    possible = [k for k in NEIGHBOURS if k <= len(x)]
    cosine, rows = neighbours(parts.rows("val"), x, k=possible[0], device=parts.device)
    found: tuple[float, int] | None = None
    for k in possible:
        value = _vote_metrics(parts, cosine[:, :k], rows[:, :k], "val")[parts.metric]
        if found is None or value > found[0]:
            found = value, k
    assert found is not None
    value, k = found
    near = neighbours(parts.rows(parts.last), x, k=k, device=parts.device)
    metrics = _vote_metrics(parts, *near, parts.last)
    return metrics, {"k": k, "temperature": TEMPERATURE, **parts.told(value)}, None


def _vote_metrics(
    parts: _Parts, cosine: Float[Tensor, "m k"], rows: Integer[Tensor, "m k"], split: str
) -> dict[str, float]:
    share = votes(cosine, parts.truth("train")[rows], num_classes=len(parts.embeddings.classes))
    if parts.multilabel:
        return {"map": parts.metrics(share.clamp(0, 1).logit(), split)["map"]}
    metrics = parts.metrics(share.log(), split)
    own = share.gather(1, parts.truth(split)[:, None])
    in_top5 = ((share > own).sum(dim=1, keepdim=True) < 5) & (own > 0)
    return {"top1": metrics["top1"], "top5": float(in_top5.double().mean()), "ece": metrics["ece"]}


PROBES: dict[str, Callable[[_Parts], Found]] = {"linear": _linear, "knn": _knn}
