"""The same model in other libraries, with random weights, which ours then takes over."""

from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ninefold.core.errors import Refused, nearest
from ninefold.models.create import create_model
from ninefold.models.load import load_weights
from ninefold.models.presets import preset_of
from ninefold.report.benched import OURS, Contestant
from ninefold.study.peer_models import LIBRARIES, PEERS, Logits, Subject
from ninefold.study.steps import random_images, randomise


def subject_of(name: str, *, image_size: int | None = None) -> Subject:
    """What is known of a model.

    Args:
        image_size: Side in pixels; the preset's without it.

    Raises:
        Refused: no such model.
    """
    preset = preset_of(name)
    wants = preset.preprocess
    size = image_size or wants.image_size
    return Subject(name, preset.family, preset.options, size, wants.channels, preset.num_classes)


def build(subject: Subject, library: str) -> nn.Module:
    """One contestant with random weights, those of which nothing is zero.

    Raises:
        Refused: a model that cannot be built, or a library without such a model.
    """
    if library == OURS:
        model = create_model(subject.name, image_size=subject.image_size, drop_path=0.0)
    else:
        model = _peer(subject, library)
    randomise(model)
    return model


def _peer(subject: Subject, library: str) -> nn.Module:
    known = PEERS.get(subject.family, {})
    if library not in known:
        raise Refused(f"{subject.name}: {library} has no such model, or none that is known here")
    try:
        import_module(library)
    except ImportError:
        raise Refused(
            f"{subject.name}: no comparison with {library}, which is not installed; install it "
            f"with: pip install {library}"
        ) from None
    try:
        return known[library](subject)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise Refused(f"{subject.name}: {library} cannot build it: {reason}") from None


def check_libraries(names: Iterable[str]) -> None:
    """Refuse a library that holds no peers."""
    for name in names:
        if name not in LIBRARIES:
            hint = nearest(name, LIBRARIES, f"there are {', '.join(LIBRARIES)}")
            raise Refused(f"bench: no peers in {name!r}{hint}")


def take_over(ours: nn.Module, peer: nn.Module, subject: Subject) -> float:
    """Load the peer's weights into ours; the largest difference of their outputs, on the CPU.

    Raises:
        Refused: weights that do not fit.
    """
    inner = peer.model if isinstance(peer, Logits) else peer
    assert isinstance(inner, nn.Module)
    load_weights(ours, inner.state_dict())
    images = random_images(2, subject.channels, subject.image_size)
    training = ours.training, peer.training
    with torch.inference_mode():
        difference = (ours.eval()(images) - peer.eval()(images)).abs().max()
    ours.train(training[0])
    peer.train(training[1])
    return float(difference)


def describe(
    subject: Subject, library: str, model: nn.Module, difference: float | None
) -> Contestant:
    """Sizes of one contestant, with its library's version."""
    inner = model.model if isinstance(model, Logits) else model
    return Contestant(
        library=library,
        name=type(inner).__name__,
        version=version(library),
        parameters=sum(p.numel() for p in model.parameters()),
        macs=_macs(model, subject),
        difference=difference,
    )


def _macs(model: nn.Module, subject: Subject) -> int:
    """Half of torch's FLOPs of one image; with gradients, so that no fused fast path hides any."""
    training = model.training
    images = random_images(1, subject.channels, subject.image_size)
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        model.eval()(images)
    model.train(training)
    return counter.get_total_flops() // 2
