"""Running statistics of normalisations, and when they must not move."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

BATCH_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
INSTANCE_NORMS = nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d


@contextmanager
def keep_statistics(module: nn.Module) -> Generator[None]:
    """Within, the normalisations of `module` leave running means, variances and counts alone.

    In training mode they normalise by the batch as ever. May be nested, and undone by exceptions.
    """
    kept = [(part, part.track_running_stats) for part in _norms(module)]
    try:
        for part, _ in kept:
            part.track_running_stats = False
        yield
    finally:
        for part, tracked in kept:
            part.track_running_stats = tracked


def recomputed(module: nn.Module, x: Tensor) -> Any:
    """`module(x)`, whose activations are computed anew in the backward pass instead of being kept.

    The second time draws the noise of the first, and running statistics count the batch once.
    """
    call: Callable[..., Any] = checkpoint
    return call(module, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _undone(module)))


@contextmanager
def _undone(module: nn.Module) -> Generator[None]:
    """Put running statistics back at the end: a recomputation has to save what the pass saved, so
    it cannot go without them."""
    names = ("running_mean", "running_var", "num_batches_tracked")
    buffers = [getattr(part, name) for part in _norms(module) for name in names]
    saved = [(buffer, buffer.clone()) for buffer in buffers if buffer is not None]
    try:
        yield
    finally:
        for buffer, value in saved:
            buffer.copy_(value)


def _norms(module: nn.Module) -> list[Any]:
    return [part for part in module.modules() if isinstance(part, BATCH_NORMS + INSTANCE_NORMS)]
