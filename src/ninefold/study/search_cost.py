"""What training with Patch AutoAugment costs, beside AutoAugment's search and what follows it.

Source: Lin et al. 2021, arXiv 2103.11099, Table 2; for the search Cubuk et al. 2019, arXiv
1805.09501, sections 3 and 4.1 (recalled): 15,000 policies, each tried by a Wide-ResNet-40-2 that is
trained on 4,000 images of CIFAR-10 for 120 epochs.

Nobody repeats that search. Measured is what one image costs in a training step of each network, in
turns on one machine; hours follow by counting images, so both arms are of the same hardware, which
the paper's are not. What a policy's operations cost while images are loaded is left out.
"""

from collections.abc import Mapping, Sequence

from ninefold.core.errors import Refused
from ninefold.report.measured import Scale, Table
from ninefold.study.patch_cost import step_cost
from ninefold.study.plan import Comparison, Plan, Timed

POLICIES, EPOCHS, IMAGES = 15_000, 120, 4_000
"""Of the search: children, and what each is trained on."""
TRAINING = 200 * 50_000
"""Images of the training itself, a Wide-ResNet-28-10 on CIFAR-10."""


def search_cost(scale: Scale, data: str) -> Plan:
    """Hours of training with agents beside the network, and of a search with a plain training."""
    if data:
        raise Refused(f"reproduce: --data {data} has no use; this measures time on random images")
    small = scale == "smoke"
    options: dict[str, object] = {
        "child": "wide_resnet_atto" if small else "wide_resnet40_2",
        "child_batch": 16 if small else 128,
        "network": "wide_resnet_atto" if small else "wide_resnet28_10",
        "network_batch": 128 if scale == "gpu" else 16,
        "rounds": 1 if small else 3,
    }
    here = "ninefold.study.search_cost:hours"
    mine, other = (Timed(here, options, arm) for arm in ("co-training", "search and training"))
    told = "random images of 32 pixels; hours by counts of images"
    return Plan((Comparison(mine, other, tables=_hours),), 1 if small else 3, told)


def hours(
    *, child: str, child_batch: int, network: str, network_batch: int, rounds: int, seed: int
) -> dict[str, float]:
    """Hours of both arms and of their parts, by seconds of training steps.

    Args:
        child: What the search trains.
        child_batch: Images of its steps.
        network: What is trained in the end.
        network_batch: Likewise.
        rounds: Samples of each.
        seed: Which of them begins.
    """
    tried = step_cost(model=child, batch_size=child_batch, rounds=rounds, seed=seed)
    wanted = step_cost(model=network, batch_size=network_batch, rounds=rounds, seed=seed)
    return hours_of(
        child=tried["plain"] / child_batch,
        plain=wanted["plain"] / network_batch,
        patches=wanted["patches"] / network_batch,
    )


def hours_of(*, child: float, plain: float, patches: float) -> dict[str, float]:
    """Hours by seconds of one image: of the child, of the network alone, and with its agents."""
    search = POLICIES * EPOCHS * IMAGES * child / 3600
    training = TRAINING * plain / 3600
    return {
        "search": search,
        "training": training,
        "search and training": search + training,
        "co-training": TRAINING * patches / 3600,
    }


def _hours(readings: Sequence[Mapping[str, float]]) -> tuple[Table, ...]:
    rows = tuple(
        (name, sum(one[name] for one in readings) / len(readings))
        for name in ("search", "training", "search and training", "co-training")
    )
    title = "Hours on this machine, by what an image costs and how many there are (means)"
    return (Table(title=title, columns=("", "hours"), rows=rows),)
