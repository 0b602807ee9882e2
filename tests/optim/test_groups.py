"""Which parameters decay."""

import timm
import torch
from timm.optim import param_groups_weight_decay
from torch import nn

from ninefold.models.create import create_model
from ninefold.optim.build import make_optimizer
from ninefold.optim.config import AdamW, Schedule
from ninefold.optim.groups import parameter_groups
from ninefold.optim.schedule import factor


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2)
        self.norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 2)
        self.absolute_pos_embed = nn.Parameter(torch.zeros(1, 4, 4))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)

    def no_weight_decay(self) -> set[str]:
        return {"token"}


def names(model: nn.Module) -> tuple[set[str], set[str]]:
    """Names of the parameters that decay, and of those that do not."""
    known = {id(p): name for name, p in model.named_parameters()}
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for group in parameter_groups(model, 0.05):
        assert group["lr_scale"] == 1.0
        assert group["weight_decay"] in (0.05, 0.0)
        found[group["weight_decay"] > 0] |= {known[id(p)] for p in group["params"]}
    return found[True], found[False]


def test_only_matrices_and_kernels_decay() -> None:
    decayed, others = names(Toy())
    assert decayed == {"conv.weight", "linear.weight"}
    assert others == {
        "conv.bias",
        "norm.weight",
        "norm.bias",
        "linear.bias",
        "absolute_pos_embed",
        "relative_position_bias_table",
        "token",
    }


def test_what_a_model_within_the_model_lists_does_not_decay_either() -> None:
    decayed, others = names(nn.Sequential(Toy(), nn.Linear(2, 2)))
    assert decayed == {"0.conv.weight", "0.linear.weight", "1.weight"}
    assert "0.token" in others


def test_frozen_parameters_are_in_no_group() -> None:
    decayed, others = names(Toy())
    assert "frozen" not in decayed | others


def test_a_group_without_parameters_is_left_out() -> None:
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


def test_a_timm_swin_is_split_as_timm_splits_it() -> None:
    with torch.device("meta"):
        model = timm.create_model("swin_tiny_patch4_window7_224")
    listed = model.no_weight_decay()
    theirs = param_groups_weight_decay(model, 0.05, no_weight_decay_list=listed)
    ours = parameter_groups(model, 0.05)
    assert [g["weight_decay"] for g in ours] == [g["weight_decay"] for g in reversed(theirs)]
    assert [{*map(id, g["params"])} for g in ours] == [
        {*map(id, g["params"])} for g in reversed(theirs)
    ]


def test_of_a_vit_kernels_alone_decay() -> None:
    for name in ("vit_atto", "vit_r_atto", "deit_tiny_distilled"):
        with torch.device("meta"):
            model = create_model(name)
        kernels = {
            f"{path}.weight"
            for path, module in model.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        }
        decayed, others = names(model)
        assert decayed == kernels
        assert {"cls_token", "pos_embed"} <= others


def test_of_a_focal_model_no_table_of_positions_decays() -> None:
    """The authors skip every name that holds `relative_position_bias_table`: three kinds."""
    with torch.device("meta"):
        decayed, others = names(create_model("focal_atto"))
    tables = {name for name in decayed | others if "relative_position_bias_table" in name}
    assert {name.rpartition("table")[2].rstrip(".01") for name in tables} == {
        "", "_to_neighbors", "_to_windows",
    }  # fmt: skip
    assert tables <= others
    assert "layers.0.blocks.0.attn.qkv.weight" in decayed


def test_decay_is_big_visions_which_follows_the_schedule_and_not_the_rate() -> None:
    """There a step is `w -= s(t) (0.001 adam + 0.0001 w)`, of kernels; of biases without decay."""
    torch.manual_seed(0)
    layer, schedule = nn.Linear(3, 2).double(), Schedule(warmup_steps=5, start=0.0).over(30)
    optimizer = make_optimizer(layer, AdamW(lr=1e-3, weight_decay=0.1))
    mine = {name: p.detach().clone() for name, p in layer.named_parameters()}
    first, second = ({name: torch.zeros_like(p) for name, p in mine.items()} for _ in range(2))
    for step in range(30):
        share = factor(schedule, step / 30)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * share
        optimizer.zero_grad()
        (layer(torch.full((4, 3), 0.1 * step).double()).sin().sum()).backward()
        for name, p in layer.named_parameters():
            first[name] = 0.9 * first[name] + 0.1 * p.grad
            second[name] = 0.999 * second[name] + 0.001 * p.grad**2
            root = (second[name] / (1 - 0.999 ** (step + 1))).sqrt()
            adam = first[name] / (1 - 0.9 ** (step + 1)) / (root + 1e-8)
            decay = 1e-4 * mine[name] if name == "weight" else 0.0
            mine[name] = mine[name] - share * (1e-3 * adam + decay)
        optimizer.step()
    for name, p in layer.named_parameters():
        torch.testing.assert_close(p.detach(), mine[name], rtol=0, atol=1e-12)
