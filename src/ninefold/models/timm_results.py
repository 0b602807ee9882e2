"""What timm measured of published files, and the authors' own names of these files.

For weights of which their authors give no figure of their own: timm's table gives one for exactly
the file at the hub, on ImageNet-1k's 50,000 validation images at the file's image size. It computes
ViT, hybrids and Mixer with another GELU than their authors and we do.

Source: huggingface/pytorch-image-models `results/results-imagenet.csv` of August 2026; addresses in
its `vision_transformer.py`, `vision_transformer_hybrid.py`, `mlp_mixer.py` and `resnetv2.py`.
"""

from typing import Any

TABLE = "timm's table of results"
TIMM_RESULTS: dict[str, tuple[float, str]] = {
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": (
        0.75452,
        "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_224.npz",
    ),
    "vit_tiny_patch16_384.augreg_in21k_ft_in1k": (
        0.78438,
        "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_384.npz",
    ),
    "vit_small_patch32_224.augreg_in21k_ft_in1k": (
        0.76010,
        "S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_224.npz",
    ),
    "vit_small_patch32_384.augreg_in21k_ft_in1k": (
        0.80476,
        "S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_384.npz",
    ),
    "vit_small_patch16_224.augreg_in21k_ft_in1k": (
        0.81402,
        "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_224.npz",
    ),
    "vit_small_patch16_384.augreg_in21k_ft_in1k": (
        0.83814,
        "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_384.npz",
    ),
    "vit_base_patch32_224.augreg_in21k_ft_in1k": (
        0.80732,
        "B_32-i21k-300ep-lr_0.001-aug_medium1-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_224.npz",
    ),
    "vit_base_patch32_384.augreg_in21k_ft_in1k": (
        0.83358,
        "B_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_384.npz",
    ),
    "vit_base_patch16_224.augreg_in21k_ft_in1k": (
        0.84534,
        "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.01-res_224.npz",
    ),
    "vit_base_patch16_384.augreg_in21k_ft_in1k": (
        0.86010,
        "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.01-res_384.npz",
    ),
    "vit_base_patch8_224.augreg_in21k_ft_in1k": (
        0.85838,
        "B_8-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.01-res_224.npz",
    ),
    "vit_large_patch32_384.orig_in21k_ft_in1k": (0.81508, ""),
    "vit_large_patch16_224.augreg_in21k_ft_in1k": (
        0.85856,
        "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1"
        "--imagenet2012-steps_20k-lr_0.01-res_224.npz",
    ),
    "vit_large_patch16_384.augreg_in21k_ft_in1k": (
        0.87096,
        "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1"
        "--imagenet2012-steps_20k-lr_0.01-res_384.npz",
    ),
    "vit_tiny_r_s16_p8_224.augreg_in21k_ft_in1k": (
        0.71800,
        "R_Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_224.npz",
    ),
    "vit_tiny_r_s16_p8_384.augreg_in21k_ft_in1k": (
        0.75962,
        "R_Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_384.npz",
    ),
    "vit_small_r26_s32_224.augreg_in21k_ft_in1k": (
        0.81856,
        "R26_S_32-i21k-300ep-lr_0.001-aug_light0-wd_0.03-do_0.1-sd_0.1"
        "--imagenet2012-steps_20k-lr_0.03-res_224.npz",
    ),
    "vit_small_r26_s32_384.augreg_in21k_ft_in1k": (
        0.84066,
        "R26_S_32-i21k-300ep-lr_0.001-aug_medium2-wd_0.03-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.03-res_384.npz",
    ),
    "vit_base_r50_s16_384.orig_in21k_ft_in1k": (0.84988, ""),
    "vit_large_r50_s32_224.augreg_in21k_ft_in1k": (
        0.84434,
        "R50_L_32-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1"
        "--imagenet2012-steps_20k-lr_0.01-res_224.npz",
    ),
    "vit_large_r50_s32_384.augreg_in21k_ft_in1k": (
        0.86188,
        "R50_L_32-i21k-300ep-lr_0.001-aug_medium2-wd_0.1-do_0.0-sd_0.0"
        "--imagenet2012-steps_20k-lr_0.01-res_384.npz",
    ),
    "mixer_b16_224.goog_in21k_ft_in1k": (0.76616, ""),
    "mixer_l16_224.goog_in21k_ft_in1k": (0.72084, ""),
    "resnetv2_50x1_bit.goog_in21k_ft_in1k": (0.80386, ""),
    "resnetv2_101x1_bit.goog_in21k_ft_in1k": (0.82332, ""),
    "tf_efficientnet_b0.aa_in1k": (0.76882, ""),
    "tf_efficientnet_b1.aa_in1k": (0.78840, ""),
    "tf_efficientnet_b2.aa_in1k": (0.80074, ""),
    "tf_efficientnet_b3.aa_in1k": (0.81648, ""),
    "tf_efficientnet_b4.aa_in1k": (0.83040, ""),
    "tf_efficientnet_b5.aa_in1k": (0.83696, ""),
    "tf_efficientnet_b6.aa_in1k": (0.84124, ""),
    "tf_efficientnet_b7.aa_in1k": (0.84424, ""),
}
"""Name at the hub: top-1, and what the authors call the file, where timm tells."""


def timm_result(hub_name: str, *, note: str = "") -> dict[str, Any]:
    """The fields of a preset for what timm measured; none for a preset without weights.

    Args:
        note: What was different from the preset, after the source.
    """
    if hub_name not in TIMM_RESULTS:
        return {}
    accuracy, file = TIMM_RESULTS[hub_name]
    return {"accuracy": accuracy, "accuracy_from": TABLE + note, "authors_file": file}
