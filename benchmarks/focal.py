"""Focal-T beside torchvision's Swin-T, on the same images, in turns.

    python benchmarks/focal.py --threads 2                 (a few minutes)

No library has Focal, and the authors' code needs a torch of 2021; where it was made to run, it took
1.74 (batch 1) and 2.78 times (batch 8) as long as torchvision's Swin-T in the same process (fp32
inference, 2 threads). The goal is half of that. Told is the median of the rounds' ratios, with
their quartiles. Focal-T has 1.10 times the multiply-adds.
"""

import argparse

import torch

from ninefold.study.peers import build, subject_of
from ninefold.study.steps import random_images, work_of
from ninefold.study.timing import interleave, matrix_probe, samples_of

OFFICIAL = {1: 1.74, 8: 2.78}
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = {
        "focal": build(subject_of("focal_tiny"), "ninefold"),
        "swin": build(subject_of("swin_tiny"), "torchvision"),
    }
    for batch_size, official in OFFICIAL.items():
        images = random_images(batch_size, 3, 224)
        works = {
            name: work_of(model, images, mode="inference", precision="fp32")
            for name, model in models.items()
        }
        for work in works.values():
            work()
        rounds = interleave(samples_of(works, CPU), matrix_probe(CPU), options.rounds)
        low, middle, high = rounds.ratios("focal", to="swin")
        print(
            f"batch {batch_size}: {middle:.2f} of Swin-T ({low:.2f} to {high:.2f}), "
            f"{middle / official:.2f} of the authors' ratio",
            flush=True,
        )


if __name__ == "__main__":
    main()
