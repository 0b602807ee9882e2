"""What went wrong, in words that help: a loss that is not finite, memory that ran out."""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed
from ninefold.engine.update import State, finite


def first_bad(objective: nn.Module, batch: Batch, *, parts: int = 1) -> str:
    """Run a prepared batch again, on weights from before the damage, and name what is bad first.

    Args:
        parts: How many the step cut it into; the whole may not fit into memory.

    Returns:
        A phrase: the input, a weight, a module by its path (whose output is the first that is not
        finite), or the parameter nearest to the loss whose gradient is not.
    """
    found = (_first_bad(objective, part) for part in batch.split(parts))
    return next(filter(None, found), "a second pass over the batch was finite")


def _first_bad(objective: nn.Module, batch: Batch) -> str:
    """The phrase; nothing where all is finite."""
    inputs = batch.x if isinstance(batch.x, dict) else {"input": batch.x}
    for name, value in inputs.items():
        if not _all_finite(value):
            return f"the {name} is not finite"
    for name, parameter in objective.named_parameters():
        if not _all_finite(parameter):
            return f"the weight {_short(name)} is not finite"
    found: list[str] = []
    handles = [
        module.register_forward_hook(_watch(name, found))
        for name, module in objective.named_modules()
        if name
    ]
    try:
        loss = objective(batch)["loss"]
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return f"first bad module: {found[0]}"
    if not _all_finite(loss):
        return "every module's output is finite, the loss of them is not"
    objective.zero_grad()
    loss.backward()
    for name, parameter in reversed(list(objective.named_parameters())):
        if parameter.grad is not None and not _all_finite(parameter.grad):
            return f"first bad module on the way back: {_short(name).rpartition('.')[0] or name}"
    return ""


def _watch(name: str, found: list[str]) -> Any:
    def hook(module: nn.Module, _: Any, output: Any) -> None:
        if not all(_all_finite(value) for value in _tensors(output)):
            found.append(f"{_short(name)} ({type(module).__name__})")

    return hook


def _short(name: str) -> str:
    return name.removeprefix("model.")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        items: Any = value.values() if isinstance(value, dict) else value
        for item in items:
            yield from _tensors(item)


def _all_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def batch_files(batch: Batch, files: Sequence[str]) -> list[str]:
    """Names of the files that a batch was made of."""
    index: list[int] = batch.index.tolist() if batch.index is not None else []
    return [files[i] for i in index if 0 <= i < len(files)]


def told(logs: dict[str, Tensor]) -> str:
    """`the loss is nan`, or the agents' or the gradient norm where the loss is finite."""
    loss = float(logs["loss"])
    if of_agents(logs):
        return f"the agents' loss is {float(logs['agent_loss'])} (the model's {loss:g})"
    if "grad_norm" in logs and bool(finite({"loss": logs["loss"]})):
        return f"the gradient norm is {float(logs['grad_norm'])} (loss {loss:g})"
    return f"the loss is {loss}"


def of_agents(logs: dict[str, Tensor]) -> bool:
    """Whether nothing is wrong but the loss of Patch AutoAugment's agents."""
    own = {name: value for name, value in logs.items() if name != "agent_loss"}
    return "agent_loss" in logs and bool(finite(own))


@contextmanager
def memory_told(device: torch.device, *, step: Any, advice: str) -> Generator[None]:
    """Turn running out of memory into `Failed` with the peak and what to try.

    Args:
        step: Called for the words that say when.
        advice: What to try.
    """
    try:
        yield
    except Failed:
        raise
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise Failed(f"{step()}: out of memory on {device}{_peak(device)}; {advice}") from None


def memory_advice(batch_size: int, accumulate: int) -> str:
    """What to try when a training step does not fit."""
    if batch_size // accumulate < 2:
        return "a smaller model or image size is needed: single images do not fit"
    keep = f"--accumulate {2 * accumulate} (0 finds it) with the same batch_size {batch_size}"
    return f"try {keep}, --grad-checkpoint, or --batch-size {max(batch_size // 2, 1)}"


def out_of_memory(error: BaseException) -> bool:
    """Whether it was memory that ran out, on whatever device."""
    words = r"out of memory|can't allocate memory|not enough memory"
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or re.search(words, str(error)) is not None


def _peak(device: torch.device) -> str:
    if device.type == "cuda":
        peak, whole = torch.cuda.max_memory_allocated(device), _memory(device)
        return f" (peak {peak / 2**30:.1f} of {whole / 2**30:.1f} GiB)"
    return f" (peak {peak_memory(device) / 2**30:.1f} GiB)"


def _memory(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).total_memory)


def peak_memory(device: torch.device) -> int:
    """Bytes: of the device's tensors on CUDA, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    import sys

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def where(step: int, state: State) -> str:
    """`step 12 (learning rate 0.001)`."""
    rates = sorted({group["lr"] for group in state.optimizer.param_groups})
    least = f"{rates[0]:.4g} to " if len(rates) > 1 else ""
    return f"step {step} (learning rate {least}{rates[-1]:.4g})"
