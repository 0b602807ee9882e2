"""How the files of one family of models are read: whose keys they are, and what becomes of them.

A layout recognises the keys of one origin and renames them to ours by a pure function; a family has
a list of layouts, tried in order, beside its model file.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ninefold.core.errors import Refused, nearest

Tensors = dict[str, Tensor]

NEVER = re.compile(r"(?!)")
"""Matches no key."""


@dataclass(frozen=True)
class Layout:
    """The keys of one origin.

    Args:
        name: Whose they are, for messages.
        find: The prefix before this family's keys in such a file (`backbone.`, or an empty text);
            None where the file is of another layout. What stands outside the prefix is another
            part of a larger model, and is skipped.
        rename: Tensors without that prefix -> tensors under our names. Keys that it does not know
            keep their names, so that they are refused as unknown.
        restore: The way back: tensors under our names -> under theirs, without a prefix. Raises
            `Refused` where that origin has no place for one. Nothing where there is no way back.
        needs: Options of the model that `restore` takes as keywords, as tensors do not tell them.
        never: How names of presets begin whose weights are never in this layout.
    """

    name: str
    find: Callable[[Tensors], str | None]
    rename: Callable[[Tensors], Tensors]
    restore: Callable[..., Tensors] | None = None
    needs: tuple[str, ...] = ()
    never: str = "-"


@dataclass(frozen=True)
class Keys:
    """What the files of one family have in common, whatever their layout.

    Args:
        family: As in `create_model`.
        layouts: Tried in order.
        mark: Keys, under our names, that no other family has.
        computed: Keys of buffers that the model computes; accepted and ignored.
        spare: Keys that one kind of model of the family has and another lacks (the head of a
            classifier, say); skipped where the model has no place for them.
        fresh: Keys that a model may have and the file not; they then keep their initial values.
        resize: `(key, value, target, model)` -> a value of the target's shape, or None where the
            shapes have nothing to do with each other.
        options: Options of `create_model`, beside a preset's name, that the tensors speak of.
        with_head: Keys without which the file's head means nothing: spare, too, but only where
            the model does not take the head over.
    """

    family: str
    layouts: tuple[Layout, ...]
    mark: re.Pattern[str]
    computed: re.Pattern[str]
    spare: re.Pattern[str]
    fresh: re.Pattern[str]
    resize: Callable[[str, Tensor, Tensor, nn.Module], Tensor | None]
    options: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    with_head: re.Pattern[str] = NEVER

    def read(self, tensors: Tensors, where: str) -> tuple[str, Tensors, list[str]] | None:
        """Layout, tensors under our names, and skipped keys; None where no layout fits.

        Raises:
            Refused: the keys are of a layout, but the shapes do not even fit each other.
        """
        for layout in self.layouts:
            prefix = layout.find(tensors)
            if prefix is not None:
                own = {
                    k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
                }
                skipped = [k for k in tensors if not k.startswith(prefix)]
                try:
                    renamed = layout.rename(own)
                except RuntimeError as error:
                    reason = " ".join(str(error).split())
                    raise Refused(
                        f"{where}: its keys are those of {self.family} in {layout.name}, but its "
                        f"shapes are not ({reason})"
                    ) from None
                kept = {k: v for k, v in renamed.items() if not self.computed.search(k)}
                return layout.name, kept, skipped
        return None

    def write(self, tensors: Tensors, to: str, options: Mapping[str, Any] | None = None) -> Tensors:
        """Tensors under our names as the layout called `to` has them.

        Args:
            options: Of the model that they are of, as far as they are known.

        Raises:
            Refused: no layout is called so, or it has no place for one of the tensors, or it asks
                for an option that is not known.
        """
        known = {layout.name: layout for layout in self.layouts if layout.restore}
        layout = known.get(to)
        if layout is None or layout.restore is None:
            there = f"there are {', '.join(known)}" if known else "there is none"
            raise Refused(f"--to {to}: is no layout of {self.family}{nearest(to, known, there)}")
        told = options or {}
        lacking = [name for name in layout.needs if name not in told]
        if lacking:
            raise Refused(f"--to {to}: asks for {', '.join(lacking)}, which a file of weights does "
                          "not tell; --model NAME does")  # fmt: skip
        return layout.restore(tensors, **{name: told[name] for name in layout.needs})


def prefix_before(key: str, *prefixes: str) -> Callable[[Tensors], str | None]:
    """A `Layout.find`: the first of `prefixes` with which `key` stands in a file."""
    return lambda tensors: next((p for p in prefixes if p + key in tensors), None)


def substitute(
    *rules: tuple[str, str | Callable[[re.Match[str]], str]],
) -> Callable[[Tensors], Tensors]:
    """A `Layout.rename` by regular expressions, each applied to every key, in order."""
    compiled = [(re.compile(pattern), text) for pattern, text in rules]

    def rename(tensors: Tensors) -> Tensors:
        renamed: Tensors = {}
        for key, value in tensors.items():
            for pattern, text in compiled:
                key = pattern.sub(text, key)
            renamed[key] = value
        return renamed

    return rename


def refuse(tensors: Tensors, pattern: str, where: str) -> None:
    """What another library has no place for.

    Raises:
        Refused: a key matches; it is named.
    """
    strange = [key for key in tensors if re.search(pattern, key)]
    if strange:
        raise Refused(f"{strange[0]}: {where} has no place for it")


def require(tensors: Tensors, key: str, where: str) -> None:
    """What another library's model cannot be without.

    Raises:
        Refused: `key` is missing.
    """
    if key not in tensors:
        raise Refused(f"{key}: there is none, and {where} cannot be without")


def head_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Outputs of a head that is one linear layer."""
    return {"num_classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0}
