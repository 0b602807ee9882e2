"""A benchmark compares equal work, in turns, and keeps every sample."""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ninefold.app.cli import main
from ninefold.app.verbs import VERBS
from ninefold.core.errors import Refused
from ninefold.layers.conv import fast_layout
from ninefold.report.benched import OURS, Bench, read_bench
from ninefold.study.bench import Plan, bench
from ninefold.study.memory import peak_memory
from ninefold.study.peers import PEERS, build, subject_of, take_over
from ninefold.study.steps import random_images, randomise, work_of
from ninefold.study.timing import Rounds, interleave, repeats_for, steady_rounds

CPU = torch.device("cpu")
PEERED = ("timm", "torchvision")
QUICK = {
    "batch_sizes": [2], "precisions": ["fp32"], "rounds": 2, "memory": False,
    "image_size": 64, "threads": 1, "device": "cpu", "against": PEERED,
}  # fmt: skip


class Small(nn.Module):
    """A user's own model, for which nobody has a peer."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean((2, 3)))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Path, list[float]]:
    out = tmp_path_factory.mktemp("bench") / "here.json"
    shares: list[float] = []
    plan = Plan.parse({"models": ["swin_atto", f"{__name__}:Small"], **QUICK}, where="bench")
    return bench(plan, out=out, tell=lambda what, share: shares.append(share)), out, shares


def test_the_record_holds_every_sample_with_its_conditions(
    found: tuple[Bench, Path, list[float]],
) -> None:
    measured, out, shares = found
    assert read_bench(out) == measured
    swin = measured.models[0]
    assert [c.library for c in swin.contestants] == [OURS, *PEERED]
    assert {c.macs for c in swin.contestants} == {swin.contestants[0].macs}
    assert {c.parameters for c in swin.contestants} == {568_198}
    assert [c.name for c in swin.cells] == ["inference fp32 b2", "training fp32 b2"]
    for cell in swin.cells:
        assert [t.library for t in cell.timings] == [OURS, *PEERED]
        assert 1 <= cell.rounds <= 4
        assert cell.fastest_peer() in PEERED
    assert measured.device == "cpu"
    assert measured.threads == 1
    assert all(library in measured.versions for library in ("torch", *PEERED))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert measured.command == (
        f"ninefold bench swin_atto {__name__}:Small --against timm torchvision --precisions fp32 "
        "--batch-sizes 2 --image-size 64 --rounds 2 --threads 1 --device cpu --no-memory"
    )


def test_a_model_without_peers_is_measured_alone_with_a_note(
    found: tuple[Bench, Path, list[float]],
) -> None:
    own = found[0].models[1]
    assert [c.library for c in own.contestants] == [OURS]
    assert "no peers are known" in own.notes[0]
    assert len(own.cells) == 2
    assert own.cells[0].fastest_peer() == ""


@pytest.mark.parametrize(
    ("name", "library"),
    [("swin_atto", library) for library in PEERS["swin"]] + [("timm/resnet10t", "timm")],
)
def test_a_peer_gives_our_output_with_the_same_weights(name: str, library: str) -> None:
    subject = subject_of(name, image_size=64)
    ours, peer = build(subject, OURS), build(subject, library)
    assert take_over(ours, peer, subject) < 1e-5
    images = random_images(2, 3, 64)
    with torch.no_grad():
        assert float(peer.eval()(images).std()) > 0.1  # weights of zero would agree too
        [p for p in peer.parameters() if p.dim() > 1][-1].mul_(1.5)
        assert float((ours.eval()(images) - peer(images)).abs().max()) > 1e-3


def test_no_parameter_is_zero_or_one_after_randomising() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    nn.init.zeros_(model[2].weight)
    randomise(model)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            assert float(value.std()) > 0, name
    assert float(model[1].running_var.min()) > 0


@pytest.mark.parametrize(
    ("probes", "kept"),
    [
        ([1, 1, 1, 1], [0, 1, 2]),
        ([1, 1.1, 1, 2, 1, 1], [0, 1, 4]),  # a slow probe spoils the rounds on both its sides
        ([2, 2, 2, 1, 1], [0, 1]),  # the speed that most agree on, not the best
        ([2, 2, 1, 1], [2]),  # the faster of two with equally many
        ([1, 2, 4], []),
    ],
)
def test_rounds_at_another_speed_than_most_are_left_out(
    probes: list[float], kept: list[int]
) -> None:
    assert steady_rounds(probes) == kept


def _in_turn(values: list[float]) -> Callable[[], float]:
    left = iter(values)
    return lambda: next(left)


def test_left_out_rounds_are_repeated_and_counted() -> None:
    a, b = [1.0, 2.0, 3.0, 4.0, 5.0], [10.0, 20.0, 30.0, 40.0, 50.0]
    probe = _in_turn([1, 1, 9, 1, 1, 1])
    rounds = interleave({"a": _in_turn(a), "b": _in_turn(b)}, probe, 3)
    assert rounds.seconds == {"a": (1.0, 4.0, 5.0), "b": (10.0, 40.0, 50.0)}
    assert rounds.discarded == 2


def test_an_unsteady_machine_ends_the_measurement_at_twice_the_rounds() -> None:
    probes = [float(3**i) for i in range(9)]
    rounds = interleave({"a": lambda: 1.0}, _in_turn(probes), 4)
    assert not rounds.steady
    assert len(rounds.seconds["a"]) == 8  # nothing tells which of them is right
    assert rounds.discarded == 0


def test_each_contestant_is_first_in_its_turn() -> None:
    order: list[str] = []

    def sample(name: str) -> Callable[[], float]:
        return lambda: order.append(name) or 1.0

    interleave({name: sample(name) for name in "abc"}, lambda: 1.0, 3)
    assert "".join(order) == "abcbcacab"


def test_short_work_is_repeated_within_a_sample() -> None:
    assert repeats_for(0.03) == 4
    assert repeats_for(5.0) == 1


def test_ratios_are_taken_within_rounds() -> None:
    rounds = Rounds({"a": (1.0, 4.0, 9.0), "b": (2.0, 4.0, 6.0)}, 0, True)
    assert rounds.ratios("a", to="b") == [0.5, 1.0, 1.5]


def test_a_peer_that_computes_something_else_is_found_and_ends_in_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At 32 pixels timm's tables of the last stage are those of a smaller window."""
    words = "bench swin_atto --against timm --modes inference --precisions fp32 --batch-sizes 1"
    assert main([*words.split(), "--image-size", "32", "--rounds", "1", "--no-memory"]) == 1
    assert "COMPUTES SOMETHING ELSE" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_step_changes_every_parameter(precision: str) -> None:
    model = Small()
    before = [p.clone() for p in model.parameters()]
    step = work_of(model, random_images(2, 3, 8), mode="training", precision=precision)
    step()
    assert model.training
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_inference_runs_in_the_precision_asked_for() -> None:
    types: list[torch.dtype] = []
    for precision in ("fp32", "bf16", "bf16-weights"):
        model = Small()
        model.head.register_forward_hook(lambda module, x, y: types.append(y.dtype))
        work_of(model, random_images(2, 3, 8), mode="inference", precision=precision)()
        assert not model.training
    assert types == [torch.float32, torch.bfloat16, torch.bfloat16]


def test_convolutions_run_channels_last_and_transformers_do_not() -> None:
    assert fast_layout(Small(num_classes=2)) == torch.channels_last
    assert fast_layout(build(subject_of("swin_atto"), OURS)) == torch.contiguous_format


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("vit_atto", "timm"), ("vit_atto", "torchvision"), ("vit_atto", "transformers"),
        ("mixer_atto", "timm"), ("resnet18", "timm"), ("resnet18", "torchvision"),
        ("efficientnet_v2_atto", "timm"), ("efficientnet_atto", "timm"),
    ],
)  # fmt: skip
def test_a_peer_has_our_parameters_and_computes_our_logits(name: str, library: str) -> None:
    subject = subject_of(name, image_size=64)
    ours, peer = build(subject, OURS), build(subject, library)
    assert take_over(ours, peer, subject) < 2e-5
    counts = {sum(p.numel() for p in model.parameters()) for model in (ours, peer)}
    assert len(counts) == 1


def test_every_setting_of_a_benchmark_is_a_flag() -> None:
    parser = argparse.ArgumentParser()
    VERBS["bench"].arguments(parser)
    assert set(Plan.model_fields) | {"out"} == set(vars(parser.parse_args(["swin_atto"])))


def test_a_benchmark_that_is_stopped_has_kept_the_cells_that_it_measured(tmp_path: Path) -> None:
    out = tmp_path / "here.json"
    plan = Plan.parse({"models": ["swin_atto"], **QUICK, "against": []}, where="bench")

    def stop(what: str, share: float) -> None:
        if "training" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(plan, out=out, tell=stop)
    assert [c.name for c in read_bench(out).models[0].cells] == ["inference fp32 b2"]


def test_a_library_that_is_not_installed_is_a_note_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PEERS["swin"], "no_such_library", lambda subject: Small())
    with pytest.raises(Refused, match="not installed; install it with: pip install no_such_lib"):
        build(subject_of("swin_atto"), "no_such_library")


def test_what_a_contestant_cannot_do_is_a_note() -> None:
    plan = Plan.parse(
        {"models": [f"{__name__}:Logitless"], **QUICK, "modes": ["training"]}, where="bench"
    )
    only = bench(plan).models[0]
    assert only.cells == ()
    assert "gives no (b, k) logits" in only.notes[-1]


class Logitless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["swin_tny"], "did you mean 'swin_tiny'?"),
        (["swin_atto", "--against", "tim"], "--against: invalid choice: 'tim'"),
        (["swin_atto", "--rounds", "0"], "rounds: input should be greater than 0"),
        (["swin_atto", "--batch-sizes", "0"], "batch_sizes"),
        (["swin_atto", "--out", "nowhere/a.json"], "nowhere is no folder to write a.json into"),
        (
            ["swin_atto", "--modes", "training", "--precisions", "bf16-weights"],
            "bf16-weights is for inference",
        ),
        ([], "the following arguments are required: MODEL"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert told in err


def test_the_command_prints_ratios_and_keeps_the_record(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = "bench swin_atto --against timm --modes inference --precisions fp32 --batch-sizes 1"
    words += " --rounds 1 --threads 1 --device cpu --no-memory --out a.json"
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert "swin_atto at 64 pixels: 568k parameters" in out
    assert "equal within" in out
    assert "inference fp32 b1" in out
    kept = json.loads((tmp_path / "a.json").read_text())
    ours, theirs = kept["models"][0]["cells"][0]["timings"]
    ratio = ours["seconds"][0] / theirs["seconds"][0]
    assert math.isfinite(ratio)
    assert f"{ratio:.2f} [" in out


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own() -> None:
    """A training step holds gradients and two moments, 12 bytes a parameter, and activations."""
    inference, training = (
        peak_memory("swin_atto", OURS, image_size=64, mode=mode, precision="fp32",
                    batch_size=8, device="cpu", threads=1)
        for mode in ("inference", "training")
    )  # fmt: skip
    assert inference is not None
    assert training is not None
    assert 0 < inference < training
    assert training > 12 * 568_198
