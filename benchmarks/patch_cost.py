"""A training step with Patch AutoAugment beside a plain one, in turns, and where its time goes.

    python benchmarks/patch_cost.py --threads 2                                    (two minutes)
    python benchmarks/patch_cost.py --threads 2 --model wide_resnet28_10 --rounds 3

The goal is 1.25 times on Wide-ResNet-40-2 at batch 128. Told is the median of the rounds' ratios
with their quartiles, then the pieces by themselves: `one patch after another` is the official
program's order of work with our operations.
"""

import argparse
import statistics

import torch

from ninefold.study.patch_cost import PARTS, step_samples
from ninefold.study.timing import interleave, matrix_probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="wide_resnet40_2")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    samples, device = step_samples(options.model, options.batch_size)
    rounds = interleave(samples, matrix_probe(device), options.rounds)
    print(f"{options.model}, batch {options.batch_size}, {device}, {options.threads} threads")
    for name in ("patches", "uniform"):
        low, middle, high = rounds.ratios(name, to="plain")
        print(f"{name}: {middle:.3f} of a plain step ({low:.3f} to {high:.3f})")
    for name in ("plain", "patches", "uniform", *PARTS):
        print(f"{1000 * statistics.median(rounds.seconds[name]):9.1f} ms  {name}")


if __name__ == "__main__":
    main()
