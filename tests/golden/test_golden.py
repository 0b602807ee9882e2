"""Our own golden files pass; and the check of golden files can fail, in every way it should."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .kinds import LATER, OWED
from .runner import main

HERE = Path(__file__).parent
Change = Callable[[dict[str, Tensor], dict[str, str]], None]


def verdicts(output: str) -> dict[str, str]:
    """Verdict of each file by name, from what was printed."""
    words = ("not built yet", "FAIL", "unknown", "ok")
    return {
        line.split()[0]: next(word for word in words if f" {word}" in line)
        for line in output.splitlines()[:-1]
    }


def changed(name: str, folder: Path, change: Change, to: str = "changed.safetensors") -> None:
    with safe_open(HERE / name, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    change(tensors, metadata)
    save_file(tensors, folder / to, metadata)


TOO_LARGE = {
    "resnet_gn_v1", "resnet_bit_v2", "efficientnet_timm", "efficientnet_torchvision",
    "wide_resnet", "wide_resnet_paa", "shake_shake", "pyramidnet",
    "paa_actor_critic",
}  # fmt: skip
"""Kinds whose smallest file takes a seventh of the room or more; of these models ResNets and
EfficientNets are compared with timm and torchvision in tests/models/test_zoo.py."""


def test_our_own_choice_of_files_passes_and_holds_every_kind_that_fits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(HERE)]) == 0
    output = capsys.readouterr().out
    assert set(verdicts(output).values()) == {"ok"}
    assert all(f" {kind} " in output for kind in OWED.keys() - TOO_LARGE)
    assert sum(p.stat().st_size for p in HERE.iterdir() if p.is_file()) < 5_000_000


def test_all_files_of_the_kinds_that_are_owed_pass(
    shared_golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(shared_golden)]) == 0
    found = verdicts(capsys.readouterr().out)
    assert len(found) >= 70
    assert set(found.values()) <= {"ok", "not built yet"}
    assert list(found.values()).count("ok") >= len(OWED)


def test_every_kind_of_the_specifications_is_owed_or_to_come() -> None:
    assert len(OWED.keys() | LATER) == 42 + 3  # those of safetensors files, and three of JSON
    assert OWED.keys().isdisjoint(LATER)


def nudge_weight(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    tensors["weights/layers.1.blocks.0.attn.qkv.weight"][0, 0] += 0.5


def nudge_output(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    tensors["output"].view(-1)[-1] += 0.01


def not_a_number(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    tensors["output"].view(-1)[0] = float("nan")


def further_output(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    tensors["output/stage7"] = torch.zeros(1)


def no_output(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    for name in [n for n in tensors if n.startswith("output")]:
        del tensors[name]


def empty_output(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    no_output(tensors, metadata)
    tensors["output"] = torch.zeros(0, 7)


def other_shape(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    tensors["output"] = tensors["output"][:1].clone()


def lost_weight(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    del tensors["weights/layers.1.blocks.0.attn.qkv.weight"]


def strange_option(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    config = json.loads(metadata["config"])
    config["kwargs"]["strange"] = 1
    metadata["config"] = json.dumps(config)


def no_tolerance(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    metadata["atol"] = "none"


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("swin_cls_ape_rect.safetensors", nudge_weight, "output differs in"),
        ("swin_dense_pad.safetensors", nudge_weight, "differs in"),
        ("swin_cls_ape_rect.safetensors", nudge_output, "output differs in 1 of 14"),
        ("swin_dense_pad.safetensors", nudge_output, "output differs in 1 of"),
        ("swin_bias_table_resize.safetensors", nudge_output, "output differs in 1 of"),
        ("swin_cls_ape_rect.safetensors", not_a_number, "output differs in 1 of"),
        ("swin_cls_ape_rect.safetensors", further_output, "output/stage7 is not compared"),
        ("swin_cls_ape_rect.safetensors", no_output, "nothing is compared"),
        ("swin_cls_ape_rect.safetensors", empty_output, "nothing is compared"),
        ("swin_cls_ape_rect.safetensors", other_shape, "output is (2, 7), not (1, 7)"),
        ("swin_cls_ape_rect.safetensors", lost_weight, "1 missing (layers.1.blocks.0.attn.qkv"),
        ("swin_cls_ape_rect.safetensors", strange_option, "no option is called 'strange'"),
        ("swin_cls_ape_rect.safetensors", no_tolerance, "could not convert"),
    ],
)
def test_a_file_that_does_not_agree_fails_with_the_reason(
    name: str, change: Change, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(name, tmp_path, change)
    assert main([str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert verdicts(output) == {"changed.safetensors": "FAIL"}
    assert reason in output.splitlines()[0]


def test_a_tolerance_in_the_file_takes_the_place_of_the_kinds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def wide(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        nudge_output(tensors, metadata)
        metadata["atol"] = "1e-9 in float64, 2e-2 in float32"

    changed("swin_cls_ape_rect.safetensors", tmp_path, wide)
    assert main([str(tmp_path)]) == 0
    assert "2e-02" in capsys.readouterr().out


def test_a_wrong_count_of_parameters_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((HERE / "hierarchical_param_counts.json").read_text())
    document["models"]["swin_base dense backbone w7 out(0,1,2,3)"]["params"] += 1
    (tmp_path / "counts.json").write_text(json.dumps(document))
    assert main([str(tmp_path)]) == 1
    assert "swin_base dense" in capsys.readouterr().out


def test_files_are_told_by_content_and_not_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(HERE / "swin_bias_table_resize.safetensors", tmp_path / "a.bin")
    shutil.copy(HERE / "hierarchical_param_counts.json", tmp_path / "b")
    (tmp_path / "c.json").write_text(json.dumps({"file": "a.bin", "config": {}, "seed": 1}))
    assert main([str(tmp_path)]) == 0
    assert verdicts(capsys.readouterr().out) == {"a.bin": "ok", "b": "ok"}


def test_kinds_to_come_are_counted_apart_but_alone_prove_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors", {"kind": "mbt"})
    (tmp_path / "r.json").write_text(json.dumps([{"out_hw": [1, 2], "max_size": 3}]))
    assert main([str(tmp_path)]) == 1
    assert set(verdicts(capsys.readouterr().out).values()) == {"not built yet"}
    shutil.copy(HERE / "swin_bias_table_resize.safetensors", tmp_path)
    assert main([str(tmp_path)]) == 0
    assert "1 checked: 1 ok, 0 FAIL; 2 not built yet, 0 unknown" in capsys.readouterr().out


def test_unknown_kinds_and_unreadable_files_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(HERE / "swin_bias_table_resize.safetensors", tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "kindless.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "strange.safetensors", {"kind": "strange"})
    (tmp_path / "torn.safetensors").write_bytes(
        (HERE / "swin_dense_pad.safetensors").read_bytes()[:999]
    )
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    assert main([str(tmp_path)]) == 1
    found = verdicts(capsys.readouterr().out)
    assert found.pop("swin_bias_table_resize.safetensors") == "ok"
    assert len(found) == 5
    assert set(found.values()) == {"unknown"}


def test_a_folder_that_is_missing_or_empty_does_not_pass(tmp_path: Path) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert main([]) == 2
    assert main([str(tmp_path)]) == 1
