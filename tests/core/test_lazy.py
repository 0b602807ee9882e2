import ast
from importlib import import_module
from pathlib import Path

import pytest

import ninefold

ROOMS = ["core", "layers", "models", "data", "augment", "optim", "tasks", "engine", "report"]
SOURCE = Path(ninefold.__file__).parent


def _typed(path: Path) -> set[str]:
    """Names that a package's file imports for type checkers."""
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.If)]
    return {
        name.asname or name.name
        for block in imports
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    }


@pytest.mark.parametrize("room", [*ROOMS, ""])
def test_a_room_gives_every_name_that_it_lists_and_type_checkers_know_the_same(room: str) -> None:
    package = import_module(f"ninefold.{room}".rstrip("."))
    names = set(dir(package)) - {"__version__"}
    assert names == _typed(SOURCE / room / "__init__.py")
    for name in names:
        assert getattr(package, name) is not None


def test_a_name_that_a_room_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'ninefold\.layers' has no attribute 'Mpl'"):
        import_module("ninefold.layers").Mpl  # noqa: B018
