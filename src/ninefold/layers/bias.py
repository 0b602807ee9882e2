"""The sum of position tables and masks that attention adds, remembered where it cannot change."""

from typing import Self

import torch
from torch import Tensor


class LastBias:
    """The last sum made without gradients, as long as the tables it came from are the same.

    On a CPU the tables are compared by value, so that even a change behind autograd's back
    (`table.data`) is seen; elsewhere, where that would wait for the device, by their versions.
    Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._entry: (
            tuple[object, tuple[Tensor, ...], tuple[int, ...], list[Tensor], Tensor] | None
        ) = None

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()

    def get(self, key: object, tables: tuple[Tensor, ...]) -> Tensor | None:
        """The sum kept for this key and these tables, if it still holds."""
        entry = self._entry  # read once: another thread may replace it
        if entry is None or entry[0] != key or len(entry[1]) != len(tables):
            return None
        if any(
            kept is not table or table._version != version
            for kept, table, version in zip(entry[1], tables, entry[2], strict=True)
        ):
            return None
        if tables[0].device.type != "cpu":
            return entry[4]
        same = all(torch.equal(a, b) for a, b in zip(tables, entry[3], strict=True))
        return entry[4] if same else None

    def put(self, key: object, tables: tuple[Tensor, ...], value: Tensor) -> None:
        """Keep this sum and no other."""
        copies = [table.detach().clone() for table in tables]
        self._entry = key, tables, tuple(table._version for table in tables), copies, value
