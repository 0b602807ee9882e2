"""Where a run computes: one process on the best device there is, or torchrun's ranks."""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import logging
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from ninefold.core.errors import Failed, Refused

log = logging.getLogger(__name__)


class Autocast(MixedPrecision):
    """bf16 for what gains by it, decided operation by operation.

    Departs: Fabric's own turns every float of the batch to bf16 on its way into the module; there
    a box's corner near pixel 1000 would move by up to 2 pixels.
    """

    def convert_input(self, data: Any) -> Any:
        return data


def launch(precision: str, device: str = "auto") -> tuple[Fabric, str, list[str]]:
    """Start Fabric for this process: alone, or as the rank that torchrun's environment names.

    Args:
        precision: As in `Run.precision`.
        device: `auto` for the best, or `cpu`, `cuda`, `mps`.

    Returns:
        Fabric; the precision that it uses; what to tell the user of the choice.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    several = world > 1 and "RANK" in os.environ
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world)) if several else 1
    accelerator = chosen_device(device).type
    if accelerator == "cuda" and local > torch.cuda.device_count():
        raise Refused(
            f"torchrun: {local} processes on this machine, which has {torch.cuda.device_count()} "
            "GPUs; one process a GPU is right"
        )
    native = bf16_is_native(torch.device(accelerator))
    notes: list[str] = []
    if precision == "auto":
        precision = "bf16-mixed" if native else "32-true"
    elif precision == "bf16-mixed" and not native:
        precision = "32-true"
        notes.append(f"this {accelerator} does not compute bf16 natively: 32-true it is")
    plugins: list[Any] = [Autocast("bf16-mixed", accelerator)] if precision != "32-true" else []
    if several:
        plugins.append(TorchElasticEnvironment())
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=world // local if several else 1,
        strategy=DDPStrategy(gradient_as_bucket_view=True) if several else "auto",
        plugins=plugins,
    )
    fabric.launch()
    return fabric, precision, notes


def best_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def chosen_device(name: str) -> torch.device:
    """The device of that name; of `auto` the best.

    Raises:
        Refused: this machine has none.
    """
    if name == "auto":
        return best_device()
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(name):
        found = " and ".join(known for known, here in there.items() if here)
        raise Refused(f"--device {name}: this machine has none; it has {found}")
    return torch.device(name)


def bf16_is_native(device: torch.device) -> bool:
    """Whether bf16 is worth it: there it halves a step of a transformer, elsewhere it is emulated.

    Measured on two cores with avx512_bf16: a training step of swin_atto at batch 64 takes 0.55 of
    its fp32 time, one of Swin-T at batch 4 0.37.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, bool)() for check in checks)
    return False


def describe_device(fabric: Fabric) -> str:
    """`cpu, 2 threads` or `cuda: NVIDIA H200`, with the number of processes above one."""
    if fabric.device.type == "cuda":
        told = f"cuda: {torch.cuda.get_device_name(fabric.device)}"
    elif fabric.device.type == "cpu":
        told = f"cpu, {torch.get_num_threads()} threads"
    else:
        told = fabric.device.type
    return f"{told}, {fabric.world_size} processes" if fabric.world_size > 1 else told


def agree(fabric: Fabric, what: str, value: str) -> None:
    """See that all ranks were given the same.

    Raises:
        Failed: on every rank, naming those that differ from rank 0.
    """
    values = gather(value)
    odd = [rank for rank, other in enumerate(values) if other != values[0]]
    if odd:
        raise Failed(
            f"rank {fabric.global_rank}: ranks {odd} were started with another {what} than rank 0; "
            "give all of them the same"
        )


def gather(value: Any) -> list[Any]:
    """One object of each rank, in their order, on every rank."""
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def share_buffers(model: nn.Module) -> None:
    """Give all ranks the buffers of rank 0.

    Data parallelism does so before each forward pass of a training; after the last one, BatchNorm's
    statistics are each rank's own, and its metrics would be those of another model.
    """
    if dist.is_initialized() and dist.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def compile_model(
    model: nn.Module, *, sizes: int = 1, backend: str | Callable[..., Any] = "inductor"
) -> None:
    """Compile a model in place, under its old names; where that fails, go on without.

    The compiler runs at the first call. If it fails there, the model is as before, and the log has
    one warning.

    Args:
        sizes: Of images that will be trained on. Where there are several, each is compiled for
            itself: Swin for any size takes minutes where four of its sizes take seconds.
    """
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException

    # Beside the sizes there are two lengths of a batch in validation.
    config.recompile_limit = max(config.recompile_limit, sizes + 4)
    model.compile(backend=backend, dynamic=False if sizes > 1 else None)
    inner: Any = model
    compiled = inner._compiled_call_impl

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except TorchDynamoException as error:
            inner._compiled_call_impl = None
            reason = " ".join(str(error).split())[:200]
            log.warning("not compiled, going on without: %s", reason)
            return model(*args, **kwargs)

    inner._compiled_call_impl = call
