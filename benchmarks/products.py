"""The matrix products of a model alone, beside the peers that compute the model whole.

    python benchmarks/products.py swin_tiny --threads 2         (a minute)

The least that a model can take where its linear layers are torch's: each product of every
`nn.Linear` once, in the shapes that it meets, into memory that is already there, without bias,
GELU, attention, normalisation or any copy. No arrangement of the rest goes below this.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ninefold.study.peer_models import PEERS
from ninefold.study.peers import build, subject_of
from ninefold.study.steps import random_images, work_of
from ninefold.study.timing import interleave, matrix_probe, samples_of

CPU = torch.device("cpu")


def products_of(model: nn.Module, images: Tensor) -> Callable[[], None]:
    """All products of one forward pass, on numbers of their own."""
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def note(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Linear)
        rows = torch.randn(args[0].numel() // layer.in_features, layer.in_features)
        weight = torch.randn(layer.out_features, layer.in_features)
        pairs.append((rows, weight.T, torch.empty(len(rows), layer.out_features)))

    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    with torch.no_grad():
        model.eval()(images)
    for hook in hooks:
        hook.remove()

    def work() -> None:
        for rows, weight, out in pairs:
            torch.mm(rows, weight, out=out)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="swin_tiny")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    subject = subject_of(options.model)
    models = {name: build(subject, name) for name in PEERS[subject.family]}
    for batch_size in (1, 8):
        images = random_images(batch_size, 3, subject.image_size)
        works = {
            name: work_of(model, images, mode="inference", precision="fp32")
            for name, model in models.items()
        }
        works["products"] = products_of(build(subject, "ninefold"), images)
        for work in works.values():
            work()
        rounds = interleave(samples_of(works, CPU), matrix_probe(CPU), options.rounds)
        fastest = min(models, key=lambda name: statistics.median(rounds.seconds[name]))
        low, middle, high = rounds.ratios("products", to=fastest)
        print(
            f"batch {batch_size}: the products alone take {middle:.2f} ({low:.2f} to {high:.2f}) "
            f"of the time of {fastest}, the fastest peer",
            flush=True,
        )


if __name__ == "__main__":
    main()
