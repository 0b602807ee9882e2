"""Focal's weights: the authors' names are ours.

Source: microsoft/Focal-Transformer.
"""

import re

from ninefold.models.layout import Keys, Layout, head_options, prefix_before

FOCAL = Keys(
    family="focal",
    layouts=(
        Layout("official", prefix_before("patch_embed.proj.weight", "", "backbone."), dict, dict),
    ),
    mark=re.compile(r"\.relative_position_bias_table_to_(neighbors|windows)|\.pool_layers\."),
    computed=re.compile(
        r"\.(relative_position_index(_\d+)?|attn_mask|valid_ind_rolled|valid_ind_unfold_\d+)$"
    ),
    spare=re.compile(r"^(norm\d?\.|head\.)"),
    fresh=re.compile(r"^norm\d\."),
    resize=lambda key, value, target, model: None,
    options=head_options,
)
