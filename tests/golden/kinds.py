"""The kinds of golden files: those that are owed so far, with their tolerances, and those to come.

A kind comes from `LATER` into `OWED` with the work that builds what it records.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from . import cifar, efficientnet, optimizers, patches, plain, swin
from .files import Golden

Pairs = dict[str, tuple[Tensor, Tensor]]
"""What was computed here and what the reference gave, by the name of the output in the file."""


@dataclass(frozen=True)
class Kind:
    """How files of one kind are checked.

    Args:
        check: Builds the object through the public interface and returns every output beside the
            file's; the runner compares them, and refuses a check that leaves an output out.
        atol: Absolute tolerance; a file's own takes its place.
        rtol: Tolerance relative to the reference's value, added to it.
    """

    check: Callable[[Golden], Pairs]
    atol: float
    rtol: float


OWED: dict[str, Kind] = {
    # hierarchical-transformers specification, section 4: both 1e-4; the float32 references
    # themselves are within 8e-6 of their float64 runs.
    "swin_classifier": Kind(swin.classifier, 1e-4, 1e-4),
    "swin_dense": Kind(swin.dense, 1e-4, 1e-4),
    "swin_bias_table_resize": Kind(swin.bias_table_resize, 1e-4, 1e-4),
    "hierarchical_param_counts": Kind(swin.parameter_counts, 0, 0),
    "focal": Kind(swin.focal, 1e-4, 1e-4),
    # efficientnetv2-paa specification, part D, but 1e-5 there: the stem's gradient in the float32
    # reference is itself 2.6e-5 away from a float64 run.
    "efficientnet_timm": Kind(efficientnet.timm, 5e-5, 1e-4),
    "efficientnet_torchvision": Kind(efficientnet.torchvision, 5e-5, 1e-4),
    # vit-augreg-sam specification, section 13.
    "vit": Kind(plain.vit, 2e-5, 0),
    "hybrid": Kind(plain.vit, 2e-5, 0),
    "mixer": Kind(plain.mixer, 2e-5, 0),
    "resnet_gn_v1": Kind(plain.resnet_gn_v1, 2e-5, 0),
    "resnet_bit_v2": Kind(plain.resnet_bit_v2, 2e-5, 0),
    # efficientnetv2-paa specification, part D.
    "wide_resnet": Kind(cifar.wide_resnet, 1e-5, 1e-4),
    "wide_resnet_paa": Kind(cifar.wide_resnet_paa, 1e-5, 1e-4),
    "shake_shake": Kind(cifar.shake_shake_net, 1e-5, 1e-4),
    "pyramidnet": Kind(cifar.pyramidnet, 1e-5, 1e-4),
    "shake_ops": Kind(cifar.shake_ops, 1e-5, 1e-4),
    "paa_ops": Kind(patches.paa_ops, 1e-5, 1e-4),
    "paa_apply": Kind(patches.paa_apply, 1e-5, 1e-4),
    "paa_a2c_loss": Kind(patches.paa_a2c_loss, 1e-5, 1e-4),
    "paa_actor_critic": Kind(patches.paa_actor_critic, 1e-5, 1e-4),
    # float64 throughout.
    "sam_trajectory": Kind(optimizers.sam_trajectory, 1e-9, 0),
    "rmsprop_tf": Kind(optimizers.rmsprop_tf, 1e-5, 1e-4),
}

LATER = frozenset({
    "cascade_inference", "coco_eval", "ddu", "ddu_segmentation", "det_assign", "due", "duq",
    "dyhead", "fpn_roialign", "mbt", "mbt_train_and_mel", "seg_metrics", "sngp", "soft_nms",
    "sparse_dii", "spectral_norm", "uncertainty_metrics", "upernet", "video_swin",
    "video_swin_inflate", "yolos", "yolos_resize",
})  # fmt: skip
"""Kinds that the specifications describe and nothing here can be compared with yet."""
