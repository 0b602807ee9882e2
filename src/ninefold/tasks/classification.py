"""Images with one label, or with any number of labels.

Shapes: b samples, k classes.
"""

# torch leaves the type of `Tensor.tolist` open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused
from ninefold.core.objects import find
from ninefold.tasks.config import Loss
from ninefold.tasks.counts import LabelCounts, LabelSetCounts

_log = logging.getLogger(__name__)


class Classification:
    """Softmax over classes that exclude each other, or a sigmoid each where they do not.

    Predictions and metrics of one label are those of the softmax, also where the loss is a sigmoid
    each: it changes no order.

    Args:
        classes: Names by id; two at the least, or one where `multilabel`.
        loss: Label smoothing, or a loss of the user's own.
        multilabel: Whether a sample has any number of labels; targets are then `(b, k)`.

    Raises:
        Refused: too few classes, or a custom loss that cannot be found.
    """

    def __init__(self, classes: tuple[str, ...], loss: Loss, *, multilabel: bool = False) -> None:
        if len(classes) < (1 if multilabel else 2):
            found = ", ".join(map(repr, classes)) or "none"
            raise Refused(f"task: classes are {found}; classification needs two or more")
        self.name = "multilabel" if multilabel else "classification"
        self.classes = classes
        self.best = "map" if multilabel else "top1"
        self._multilabel = multilabel
        self._smoothing, self._sigmoid = loss.label_smoothing, loss.sigmoid
        self._custom = _custom_loss(loss)
        self._custom_name = loss.custom

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """`loss`; for one label a sample `top1`, of mixed targets by their largest share; and
        `each`, losses a sample, where the batch says which operations an agent chose for it.

        Computed in float32. Smoothing spreads its share evenly over all classes (with several
        labels: over yes and no of each), of mixed targets as of class ids.

        Source: summed over classes where `sigmoid` asks for it, as in big_vision's `sigmoid_xent`;
            else the mean over them, as in torch.
        """
        assert isinstance(batch.y, Tensor)
        logits, target = self._logits(model(batch.x)), batch.y
        logs: dict[str, Tensor] = {}
        if not self._multilabel:
            truth = target if target.ndim == 1 else target.argmax(dim=1)
            logs["top1"] = (logits.detach().argmax(dim=1) == truth).float().mean()
        if self._custom is not None:
            loss = self._custom(logits, target)
            if not (isinstance(loss, Tensor) and loss.ndim == 0):
                raise Failed(f"{self._custom_name}: gave {_form(loss)}; a loss is one number")
        elif self._multilabel or self._sigmoid:
            spread = 0.5 if self._multilabel else 1.0 / len(self.classes)
            soft = self._hot(target) * (1.0 - self._smoothing) + spread * self._smoothing
            each = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
            loss = each.sum(dim=1).mean() if self._sigmoid else each.mean()
        else:
            target = target if target.ndim == 1 else target.float()
            loss = F.cross_entropy(logits, target, label_smoothing=self._smoothing)
        if "operations" in batch.extra and self._custom is None:
            logs["each"] = self._each(logits.detach(), batch.y)
        return {"loss": loss, **logs}

    def _each(self, logits: Float[Tensor, "b k"], target: Tensor) -> Float[Tensor, " b"]:
        """The losses of single images, without smoothing: what an agent is rewarded by."""
        if self._multilabel or self._sigmoid:
            hot = self._hot(target)
            each = F.binary_cross_entropy_with_logits(logits, hot, reduction="none")
            return each.sum(dim=1) if self._sigmoid else each.mean(dim=1)
        target = target if target.ndim == 1 else target.float()
        return F.cross_entropy(logits, target, reduction="none")

    def _hot(self, target: Tensor) -> Float[Tensor, "b k"]:
        """A number a class: class ids as 1 at their place."""
        hot = F.one_hot(target, len(self.classes)) if target.ndim == 1 else target
        return hot.float()

    def outputs(self, model: nn.Module, batch: Batch) -> Any:
        """Logits."""
        return model(batch.x)

    def metrics(self) -> LabelCounts | LabelSetCounts:
        """A fresh count."""
        return LabelSetCounts(self.classes) if self._multilabel else LabelCounts(self.classes)

    def predict(self, output: Any, batch: Batch, *, top: int) -> list[dict[str, Any]]:
        """One record a row of the batch, fillers among them: `label probability uncertainty top`.

        `top` holds pairs of class and probability, most probable first. `uncertainty` is the
        entropy of the prediction over the largest possible one: 0 sure, 1 clueless, whatever the
        number of classes. With several labels, `label` joins by `;` those of probability 1/2 or
        more (or is empty), `probability` is that of the first of `top`, and `uncertainty` is the
        mean entropy of all yes-or-no answers.

        Source: entropy of the softmax as score of uncertainty, as in the uncertainty study.
        Departs: divided by its maximum, since raw entropies of 10 and 1000 classes do not compare.
        """
        logits = self._logits(output)
        if self._multilabel:
            probability = logits.sigmoid()
            both = torch.stack([probability, 1.0 - probability])
            uncertainty = -torch.xlogy(both, both).sum(dim=0).mean(dim=1) / math.log(2)
        else:
            probability = logits.softmax(dim=1)
            entropy = -torch.xlogy(probability, probability).sum(dim=1)
            uncertainty = entropy / math.log(len(self.classes))
        wanted = len(self.classes) if self._multilabel else min(top, len(self.classes))
        best = probability.topk(wanted, dim=1)
        rows = zip(best.values.tolist(), best.indices.tolist(), uncertainty.tolist(), strict=True)
        return [self._record(values, ids, unsure, top) for values, ids, unsure in rows]

    def _record(
        self, values: list[float], ids: list[int], uncertainty: float, top: int
    ) -> dict[str, Any]:
        pairs = [(self.classes[i], value) for i, value in zip(ids, values, strict=True)]
        label = pairs[0][0]
        if self._multilabel:
            label = ";".join(name for name, value in pairs if value >= 0.5)
        return {
            "label": label,
            "probability": values[0],
            "uncertainty": uncertainty,
            "top": pairs[:top],
        }

    def _logits(self, output: Any) -> Float[Tensor, "b k"]:
        k = len(self.classes)
        if not (isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] == k):
            raise Failed(
                f"task: the model gave {_form(output)}; logits for {k} classes have the form "
                f"(batch, {k})"
            )
        return output.float()


def _custom_loss(loss: Loss) -> Callable[[Tensor, Tensor], Any] | None:
    if not loss.custom:
        return None
    found = find(loss.custom)
    if isinstance(found, type):  # a class of losses, such as torch.nn's
        found = found()
    if not callable(found):
        raise Refused(f"{loss.custom}: a {type(found).__name__}; a loss is a function or a class")
    if loss.label_smoothing:
        _log.warning("loss.label_smoothing has no effect beside the custom loss %s", loss.custom)
    return found


def _form(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
