"""What Swin's options mean together, and which contradict each other."""

from collections.abc import Mapping, Sequence
from typing import TypeVar, get_args

from ninefold.core.errors import Refused, nearest
from ninefold.layers.partition import ShiftImpl, WindowPolicy, fit_windows

T = TypeVar("T")
Pair = tuple[int, int]
POLICIES: dict[str, WindowPolicy] = {name: name for name in get_args(WindowPolicy)}
SHIFTS: dict[str, ShiftImpl] = {name: name for name in get_args(ShiftImpl)}
KINDS = {name: name for name in ("window", "sliding", "sliding_naive", "performer")}
POSITIONS = {
    "rel": (False, True),
    "none": (False, False),
    "abs": (True, False),
    "abs+rel": (True, True),
}
"""Whether positions are absolute, and whether they are relative."""


def as_pair(size: int | Sequence[int]) -> Pair:
    """A side given once, or rows and columns."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise Refused(f"swin: a size is {size}; one whole number above 0, or rows and columns")
    return pair[0], pair[1]


def patch_grid(image: Pair, patch: Pair) -> Pair:
    """Patches along each axis of an image; images are padded to whole patches."""
    if image[0] < patch[0] or image[1] < patch[1]:
        raise Refused(
            f"swin: image_size {max(image)} is smaller than a patch of {max(patch)} pixels; "
            f"{max(patch)} is the least"
        )
    return -(-image[0] // patch[0]), -(-image[1] // patch[1])


def table_window(window: Pair, built_for: Pair | None, stage: int) -> Pair:
    """The window that a stage's tables are made for: one that fits the map it was built for."""
    if built_for is None:
        return window
    size = tuple(-(-side // 2**stage) for side in built_for)
    fitted, _ = fit_windows(size, window, shifted=False, policy="classification")
    return fitted[0], fitted[1]


def check_stages(
    dims: list[int], depths: Sequence[int], num_heads: Sequence[int],
    out_indices: Sequence[int] | None,
) -> None:  # fmt: skip
    """Refuse stages, heads and maps that do not fit each other."""
    if len(depths) != len(num_heads) or not depths:
        raise Refused(
            f"swin: depths {list(depths)} and num_heads {list(num_heads)} name "
            f"{len(depths)} and {len(num_heads)} stages; one entry each a stage"
        )
    for dim, heads in zip(dims, num_heads, strict=True):
        if heads < 1 or dim % heads:
            near = next(n for n in range(max(heads, 1), 0, -1) if dim % n == 0)
            raise Refused(f"swin: {heads} heads do not divide {dim} channels; {near} would")
    wrong = [i for i in out_indices or () if not 0 <= i < len(depths)]
    if wrong or (out_indices is not None and not out_indices):
        raise Refused(
            f"swin: out_indices {list(out_indices or ())} are not stages of the model; "
            f"from 0 to {len(depths) - 1}"
        )


def choose(option: str, value: str, choices: Mapping[str, T]) -> T:
    """The choice of that name."""
    if value not in choices:
        hint = nearest(str(value), choices, f"one of {', '.join(choices)}")
        raise Refused(f"swin: {option} is {value!r}{hint}")
    return choices[value]


def positions(pos: str | None, ape: bool | None, app: bool, kind: str) -> tuple[bool, bool]:
    """Whether positions are absolute, and whether they are relative (`POSITIONS`).

    Args:
        pos: A name of theirs, or nothing.
        ape: The authors' name for an absolute position, or nothing.
        app: Whether logits hold dot products.
        kind: Of `KINDS`.
    """
    if pos is None:
        absolute, relative = bool(ape), kind != "performer"
        pos = next(name for name, parts in POSITIONS.items() if parts == (absolute, relative))
    absolute, relative = choose("pos", pos, POSITIONS)
    if ape is not None and ape != absolute:
        raise Refused(f"swin: pos is {pos!r} and ape {ape}; pos alone is enough")
    if relative and kind == "performer":
        raise Refused(f"swin: pos is {pos!r}, but a performer has no relative bias; none or abs")
    if not app and not relative:
        raise Refused(f"swin: pos is {pos!r} and app False, so that nothing weighs the tokens; "
                      "app=False needs pos=rel or abs+rel")  # fmt: skip
    return absolute, relative


def check_kind(
    kind: str, shift: bool, shift_impl: str, policy: str | None, attn_drop: float
) -> None:
    """Refuse options that this kind of attention has no use for."""
    if shift_impl != "cyclic" and not shift:
        raise Refused(f"swin: shift_impl is {shift_impl!r} and shift False; one of them is enough")
    if kind != "window" and (shift_impl != "cyclic" or policy is not None):
        option = f"shift_impl={shift_impl}" if policy is None else f"window_policy={policy}"
        raise Refused(f"swin: {option} has no meaning where attention is {kind!r}; leave it out")
    if kind == "performer" and attn_drop:
        raise Refused(f"swin: attn_drop_rate is {attn_drop}, but a performer has no probabilities "
                      "to drop; leave it out")  # fmt: skip
