"""The checker that guards the library's signatures while tests run.

It is beartype's, but reads `Self` as anything: the import hook decorates methods one by one, where
beartype cannot know which class `Self` stands for, and refuses.
"""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

check = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: Any})))
