"""Options given as KEY=VALUE words."""

import pytest

from ninefold.core.errors import Refused
from ninefold.core.options import read_options


def test_values_are_read_as_yaml_with_every_spelling_of_a_number() -> None:
    words = ["a=1", "b=1e-3", "c=[1e-2, 0.9]", "d=true", "e=no norm", "f=x=y", "g="]
    assert read_options(words, "here") == {
        "a": 1,
        "b": 0.001,
        "c": [0.01, 0.9],
        "d": True,
        "e": "no norm",
        "f": "x=y",
        "g": None,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["depth"], "KEY=VALUE"),
        (["=3"], "KEY=VALUE"),
        (["a=1", "a=2"], "'a' is given twice"),
        (["a=[1"], "cannot be read as YAML"),
    ],
)
def test_a_word_that_is_no_option_is_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        read_options(words, "optim.options")
    assert str(refusal.value).startswith("optim.options: ")
    assert "\n" not in str(refusal.value)
