"""The rules of the house that a machine can check."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def _committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    if not files:  # a source archive without git
        files = [p for p in ROOT.rglob("*") if p.is_file() and ".venv" not in p.parts]
    return [path for path in files if path.is_file()]


def _texts() -> list[tuple[Path, str]]:
    found = []
    for path in _committed():
        try:
            found.append((path.relative_to(ROOT), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_no_committed_file_holds_the_address_of_a_package_registry() -> None:
    hosts = [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("anaconda", "org")]
    hosts += [("download.pytorch", "org"), ("conda-forge", "org")]
    names = "|".join(re.escape(".".join(host)) for host in hosts)
    address = re.compile(rf"{names}|--(extra-)?index-url|--find-links|https?://\S+\.(whl|tgz)\b")
    assert [
        f"{path}: {match.group()}"
        for path, text in _texts()
        for match in address.finditer(text)
        if path != Path("tests/test_house.py")
    ] == []


def test_the_lock_pins_every_dependency_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    names = {re.split(r"[\[<>=; ]", line)[0] for line in wanted} - {"ninefold"}
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements.lock").read_text())
    pinned = {block.split("==")[0] for block in blocks if "==" in block and "--hash=" in block}
    assert names <= pinned
    assert not [b for b in blocks if re.match(r"[a-z0-9]", b) and "--hash=sha256:" not in b]


def test_the_project_names_no_place_of_the_machine_it_was_made_on() -> None:
    places = re.compile(r"/(?:" + "|".join(["root", "home", "work"]) + r")/[a-z]")
    assert [
        f"{path}: {match.group()}"
        for path, text in _texts()
        for match in places.finditer(text)
        if path != Path("tests/test_house.py")
    ] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src/ninefold")))
def test_files_are_short_enough_to_be_read(path: Path) -> None:
    """400 lines a file and 60 a function; tables of data are exempt."""
    text = path.read_text()
    tree = ast.parse(text)
    tables = sum(
        (node.end_lineno or 0) - node.lineno
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)
    )
    assert len(text.splitlines()) - tables <= 400
    long = [
        f"{node.name}: {length}"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and (length := (node.end_lineno or 0) - node.body[0].lineno + 1 - _docstring(node)) > 60
    ]
    assert long == []


def _docstring(node: ast.FunctionDef) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return (first.end_lineno or 0) - first.lineno + 1
    return 0


def test_every_module_says_what_it_is() -> None:
    assert [str(p) for p in SOURCES if not ast.get_docstring(ast.parse(p.read_text()))] == []


def test_configurations_recipes_and_packages_import_neither_torch_nor_numpy() -> None:
    names = [
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        if path.name in ("config.py", "preset.py", "__init__.py")
        or path.stem.endswith("presets")
        or "recipes" in path.parts
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.exists():
        pytest.skip("needs import-linter: pip install 'ninefold[test]'")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
