"""A step of SAM beside a step of its base, on the same images, in turns.

    python benchmarks/sam_cost.py --threads 2                 (some minutes)

Swin-T, batch 8, 224 pixels, fp32, AdamW: whole optimizer steps as training takes them, with
clipping. Told is the median of the rounds' ratios, with their quartiles; two passes alone are 2.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from lightning_fabric import Fabric

from ninefold.core.batch import Batch
from ninefold.engine.update import descend
from ninefold.models.create import create_model
from ninefold.optim.config import AdamW, Asam, Gsam, Optim, Sam
from ninefold.study.steps import state_of
from ninefold.study.timing import interleave, matrix_probe, seconds_of

GOAL = 2.05
CONTESTANTS: dict[str, Optim] = {"base": AdamW(), "sam": Sam(), "asam": Asam(), "gsam": Gsam()}


def step_of(optim: Optim, options: argparse.Namespace) -> Callable[[], object]:
    """One optimizer step of a model of its own."""
    torch.manual_seed(0)
    model = create_model(options.model, num_classes=1000, image_size=options.image_size)
    model.to(options.device)
    fabric = Fabric(accelerator="cpu" if options.device == "cpu" else "cuda", devices=1)
    state = state_of(fabric, model, optim, 1000)
    size = options.image_size
    x = torch.randn(options.batch_size, 3, size, size, device=options.device)
    y = torch.arange(options.batch_size, device=options.device)
    batch = Batch(x, y, y)
    return lambda: descend(fabric, state, batch, clip_norm=5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="swin_tiny")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--kinds", nargs="+", default=["sam"], choices=("sam", "asam", "gsam"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    samples = {}
    for name in ("base", *options.kinds):
        step = step_of(CONTESTANTS[name], options)
        step()
        step()  # moments and packed weights are there
        samples[name] = lambda step=step: seconds_of(step, device)
    rounds = interleave(samples, matrix_probe(device), options.rounds)
    kept, left = len(rounds.seconds["base"]), rounds.discarded
    print(f"{options.model}, batch {options.batch_size}, {options.image_size} pixels, "
          f"{options.threads} threads: {kept} rounds kept, {left} left out")  # fmt: skip
    for name in options.kinds:
        low, middle, high = rounds.ratios(name, to="base")
        base = statistics.median(rounds.seconds["base"])
        print(f"{name}: {middle:.3f} of a base step ({low:.3f} to {high:.3f}; goal {GOAL}); "
              f"a base step {1000 * base:.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
