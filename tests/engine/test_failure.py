"""What is said of a loss that is not finite, and of memory that ran out."""

from typing import Any

import pytest
import torch
from engine_parts import CLASSES, Net
from torch import Tensor, nn

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed
from ninefold.engine import failure
from ninefold.engine.update import Objective
from ninefold.tasks.config import Loss
from ninefold.tasks.create import make_task

CPU = torch.device("cpu")


def objective(model: nn.Module) -> Objective:
    return Objective(model, make_task("classification", CLASSES, Loss()))


def batch() -> Batch:
    return Batch(x=torch.rand(4, 3, 12, 12), y=torch.tensor([0, 1, 2, 0]))


def test_a_module_whose_output_is_the_first_that_is_bad_is_named() -> None:
    model = Net()
    model.norm.register_forward_hook(lambda module, args, output: output / 0)
    assert failure.first_bad(objective(model), batch()) == "first bad module: norm (BatchNorm2d)"


def test_a_bad_input_and_a_bad_weight_are_named_before_any_module() -> None:
    bad = batch()
    assert isinstance(bad.x, Tensor)
    bad.x[1] = float("nan")
    assert failure.first_bad(objective(Net()), bad) == "the input is not finite"
    model = Net()
    with torch.no_grad():
        model.head.bias[0] = float("inf")
    assert failure.first_bad(objective(model), batch()) == "the weight head.bias is not finite"


def test_a_gradient_that_is_first_bad_on_the_way_back_is_named() -> None:
    class Rooted(Net):
        """The root of zero is finite, its slope is not."""

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.stem(x).mean(dim=(2, 3)) * 0).abs().sqrt())

    found = failure.first_bad(objective(Rooted()), batch())
    assert found == "first bad module on the way back: stem"


def test_a_loss_of_finite_outputs_and_a_batch_without_fault_are_told_apart() -> None:
    class Task:
        """A loss that divides by zero."""

        name, classes, best = "odd", CLASSES, "top1"

        def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
            return {"loss": model(batch.x).sum() / 0}

        def outputs(self, model: nn.Module, batch: Batch) -> Any:
            raise NotImplementedError

        def metrics(self) -> Any:
            raise NotImplementedError

        def predict(self, output: Any, batch: Batch, *, top: int) -> list[dict[str, Any]]:
            raise NotImplementedError

    assert "every module's output is finite" in failure.first_bad(Objective(Net(), Task()), batch())
    assert "was finite" in failure.first_bad(objective(Net()), batch())


def test_names_of_a_batch_leave_fillers_out() -> None:
    numbered = Batch(x=torch.zeros(3, 1), index=torch.tensor([2, -1, 0]))
    assert failure.batch_files(numbered, ["a", "b", "c"]) == ["c", "a"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_memory_that_ran_out_is_told_with_peak_and_advice(error: BaseException) -> None:
    told = pytest.raises(
        Failed, match=r"step 7: out of memory on cpu \(peak [\d.]+ GiB\); try less"
    )
    with told, failure.memory_told(CPU, step=lambda: "step 7", advice="try less"):
        raise error


def test_other_errors_pass_through() -> None:
    with (
        pytest.raises(RuntimeError, match="shape"),
        failure.memory_told(CPU, step=lambda: "", advice=""),
    ):
        raise RuntimeError("shape mismatch")


def test_the_advice_keeps_the_batch_first_and_ends_at_single_images() -> None:
    assert failure.memory_advice(64, 2) == (
        "try --accumulate 4 (0 finds it) with the same batch_size 64, --grad-checkpoint, "
        "or --batch-size 32"
    )
    assert "single images" in failure.memory_advice(4, 4)
