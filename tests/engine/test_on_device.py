"""RandAugment on whole batches on the device: the same run as image by image."""

import pytest
import torch
from torch import Tensor

from ninefold.augment.config import Augment
from ninefold.core.errors import Refused
from ninefold.engine.build import build
from ninefold.engine.config import Run
from ninefold.engine.device import launch
from ninefold.engine.feed import preparation, training_batches
from ninefold.engine.loop import seed_noise
from ninefold.recipes.augreg import augreg_in1k


def run(**fields: object) -> Run:
    made = augreg_in1k(
        model="vit_atto", data="synthetic://classification?size=32&train=24&val=12&test=0",
        augreg="medium2", batch_size=8, steps=4, image_size=32, workers=0,
    )  # fmt: skip
    return made.changed(augment=made.augment.changed(**fields))


def prepared(asked: Run, start: int = 0) -> list[tuple[Tensor, Tensor, dict[str, Tensor]]]:
    """What the model is given at each step from `start` on."""
    fabric = launch("32-true")[0]
    parts = build(asked, 1)
    prepare = preparation(asked, parts.data, fabric, parts.stop)
    source = training_batches(asked, parts.data, fabric, start, parts.stop)
    found = []
    for step in range(start, 4):
        loaded = next(source)
        seed_noise(0, step, 0, fabric.device)
        batch = prepare(loaded, step)
        found.append((batch.x, batch.y, batch.extra))
    return found


def test_the_model_is_given_the_same_bits_and_a_resumed_run_too() -> None:
    plain, batched = prepared(run()), prepared(run(on_device=True))
    again = prepared(run(on_device=True), start=2)
    untouched = prepared(run(randaugment=""))
    for (x, y, _), (same, target, extra) in zip(plain, batched, strict=True):
        assert torch.equal(x, same)
        assert torch.equal(y, target)
        assert extra == {}
    assert torch.equal(again[0][0], plain[2][0])
    assert not torch.equal(untouched[0][0], plain[0][0])


@pytest.mark.parametrize(
    "fields",
    [{}, {"randaugment": "rand-m9"}, {"randaugment": "augreg-m15", "cutout": 8}],
)
def test_what_the_device_cannot_do_to_the_bit_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Refused, match=r"on_device is for randaugment augreg-\.\.\., not"):
        Augment.parse({"on_device": True, **fields}, where="augment")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_bits_of_the_processor() -> None:
    from ninefold.augment.augreg import AugRegRandAugment

    images = torch.randint(0, 256, (200, 3, 61, 47), dtype=torch.uint8)
    for policy in (AugRegRandAugment(2, 15), AugRegRandAugment(3, 7, True, True)):
        draws = torch.stack([policy.draw(torch.Generator().manual_seed(i)) for i in range(200)])
        found = policy.operate(images.cuda(), draws).cpu()
        assert torch.equal(found, policy.operate(images, draws))
