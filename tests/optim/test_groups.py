"""Which parameters decay."""

import timm
import torch
from timm.optim import param_groups_weight_decay
from torch import nn

from ninefold.optim.groups import parameter_groups


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
