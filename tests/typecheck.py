"""The checker that guards the library's signatures while tests run.

It is beartype's, with two readings of its own. `Self` is anything: the import hook decorates
methods one by one, where beartype cannot know which class `Self` stands for, and refuses. And an
`int` is a `float`, as for pyright.
"""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

check = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: Any}), is_pep484_tower=True))
