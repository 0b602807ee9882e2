"""The command's parser, help and messages: what needs no training."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ninefold
from ninefold.app import cli
from ninefold.app.cli import main
from ninefold.app.verbs import VERBS
from ninefold.core.errors import Failed, Stopped

Captured = pytest.CaptureFixture[str]


def refused(capsys: Captured, *words: str) -> str:
    """The one line on stderr of a command that is refused."""
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err.rstrip("\n")


def test_help_imports_neither_torch_nor_numpy_nor_pydantic() -> None:
    code = (
        "import sys; from ninefold.app.cli import main; assert main(sys.argv[1:]) == 0; "
        "slow = {'torch', 'numpy', 'pydantic', 'rich', 'PIL'} & set(sys.modules); assert not slow"
    )
    for words in (["--help"], ["predict", "--help"]):
        subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: Captured) -> None:
    assert main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: ninefold {verb} ")


def test_help_names_every_verb_and_no_word_at_all_is_help(capsys: Captured) -> None:
    assert main([]) == 0
    told = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == told
    assert all(f"\n  {verb} " in told for verb in VERBS)


def test_help_of_train_lists_every_field_of_a_run(capsys: Captured) -> None:
    assert main(["train", "--help"]) == 0
    told = capsys.readouterr().out
    for flag in ("--epochs", "--optim.lr", "--schedule.warmup", "--augment.crop-area", "--ema"):
        assert f"  {flag}" in told


def test_help_of_train_tells_the_choices_of_a_field_and_how_to_turn_a_switch_off(
    capsys: Captured,
) -> None:
    assert main(["train", "--help"]) == 0
    told = capsys.readouterr().out
    for line in (
        "--schedule.kind {cosine,linear,constant,steps}",
        "--augment.crop-area N N",
        "--preprocess.mean N ...",
        "--freeze N or {backbone}",
        "--compile, --no-compile",
    ):
        assert f"  {line}\n" in told


def test_help_names_every_augmentation(capsys: Captured) -> None:
    from ninefold.recipes.parts import AUGMENTS

    assert main(["train", "--help"]) == 0
    assert ", ".join(AUGMENTS) in " ".join(capsys.readouterr().out.split())


def test_version_is_that_of_the_package(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ninefold {ninefold.__version__}\n"
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == ninefold.__version__


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "ninefold: unknown verb trian; did you mean train?"),
        (["--hlep"], "ninefold: unknown flag --hlep; did you mean --help?"),
        (
            ["train", "--optim.wieght-decay", "0.1"],
            "ninefold train: unknown flag --optim.wieght-decay; did you mean --optim.weight-decay?",
        ),
        (
            ["train", "--epoch", "3"],
            "ninefold train: unknown flag --epoch; did you mean --epochs?",
        ),
        (["predict", "a", "b", "--tpo=3"], "unknown flag --tpo; did you mean --top?"),
        (["train", "quickstart", "swin_tiny"], "unknown argument swin_tiny"),
        (["train", "quikstart"], "no recipe is called 'quikstart'; did you mean 'quickstart'?"),
        (["train", "--model", "swin_tny"], "did you mean 'swin_tiny'?"),
        (["train", "--optim", "adam"], "no optimizer is called 'adam'; did you mean 'adamw'?"),
        (["train", "--augment", "lite"], "there are none, light, pad, inception,"),
        (["train", "--epochs", "3", "--steps", "4"], "--steps: not allowed with argument --epochs"),
        (["train", "--batch-size", "many"], "--batch-size: invalid int value: 'many'"),
        (["train", "--batch-size", "0"], "batch_size 0 is no batch; 1 at the least"),
        (["train", "--optim.lr", "-1"], "lr: input should be greater than 0, not '-1'"),
        (["train", "--optim.lr", "fast"], "not 'fast'"),
        (["train", "--optim.lr"], "--optim.lr needs a value"),
        (
            ["train", "--augment.crop", "middle"],
            "'reflect' or 'none', not 'middle'",
        ),
        (["train", "--augment.crop-area", "0.5"], "augment.crop_area"),
        (["train", "--optim.momentum", "0.9"], "--optim.momentum does not belong to optim 'adamw'"),
        (["train", "--backbone", "swin_tiny"], "swin_atto is whole by itself and takes none"),
        (
            ["train", "--loss", "focal"],
            "no loss is called 'focal'; yours is named as package.module:Name",
        ),
        (["train", "--resume"], "--resume needs --out FOLDER"),
        (["train", "--seeds", "0"], "--seeds 0: one at the least"),
        (["train", "nowhere/run.yaml"], "nowhere/run.yaml: there is no such file"),
        (["models", "swim*"], "no model matches 'swim*'; `ninefold models` lists all"),
        (["recipes", "quickstar"], "did you mean 'quickstart'?"),
        (["papers", "swinn"], "ninefold papers: no paper is called 'swinn'; did you mean 'swin'?"),
        (["papers", "swin/shft"], "no claim is called 'swin/shft'; did you mean 'swin/shift'?"),
        (["reproduce", "swin/shft"], "did you mean 'swin/shift'?"),
        (["reproduce", "swin/shift", "--scale", "big"], "--scale: invalid choice: 'big'"),
        (["eval"], "the following arguments are required: RUN"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    words: list[str], told: str, capsys: Captured
) -> None:
    line = refused(capsys, *words)
    assert told in line
    verb = f" {words[0]}" if words[0] in VERBS else ""
    assert line.startswith(f"ninefold{verb}: ")


def test_seeds_of_several_processes_need_a_folder_that_all_are_told(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "--seeds under torchrun needs --out" in refused(capsys, "train", "--seeds", "2")


def test_models_lists_a_line_a_preset_with_what_is_known(capsys: Captured) -> None:
    assert main(["models", "swin_*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(ninefold.list_models("swin_*"))
    tiny = next(line for line in lines if line.startswith("swin_tiny "))
    for told in ("28.3M", "4.49", "224", "exact", "81.2 %", "MIT", "2103.14030"):
        assert told in tiny


def test_recipes_lists_each_with_what_it_trains(capsys: Captured) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(ninefold.recipes.RECIPES)


@pytest.mark.parametrize("name", ninefold.recipes.RECIPES)
def test_a_recipe_named_in_full_tells_flags_that_give_its_own_run(
    name: str, capsys: Captured
) -> None:
    from ninefold.app.flags import FIELDS, change
    from ninefold.recipes import find_recipe

    assert main(["recipes", name]) == 0
    doc, _, told = capsys.readouterr().out.partition("\nflag")
    assert doc.startswith(str(find_recipe(name).__doc__).split("\n")[0])
    words = [line.split() for line in told.splitlines()[1:]]
    given = {flag: [] if said == ["-"] else said for flag, *said in words if flag in FIELDS}
    assert {"--optim.lr", "--schedule.warmup", "--augment.crop"} <= set(given)
    own = find_recipe(name)(data="photos", weights="x.pth")
    plain = {k: v or ([] if FIELDS[k].many else [""]) for k, v in given.items()}
    back = change(own.changed(clip_norm=77, ema=0.5), plain)
    assert back == own


def test_a_paper_or_a_claim_that_is_named_is_told_in_full(capsys: Captured) -> None:
    assert main(["papers", "swin"]) == 0
    paper = capsys.readouterr().out
    assert main(["papers", "swin/shift"]) == 0
    claim = capsys.readouterr().out
    assert paper.startswith("Swin Transformer: Hierarchical")
    assert "Windows that shift in every second block" in claim
    assert "ninefold reproduce swin/shift" in claim
    assert claim.split("\n\n")[1].strip() in paper
    assert "swin/appearance" not in claim


def test_papers_lists_claims_beside_what_was_measured(capsys: Captured) -> None:
    assert main(["papers", "swin"]) == 0
    assert "swin/shift" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (Failed("step 3: the loss is nan"), 1, "ninefold check: step 3: the loss is nan\n"),
        (Stopped("saved as x", 143), 143, "ninefold check: saved as x\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_every_end_has_its_exit_code(
    error: BaseException, code: int, told: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(given: object) -> int:
        raise error

    monkeypatch.setattr("ninefold.app.tables.check", end)
    assert main(["check", "photos"]) == code
    assert capsys.readouterr().err == told


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(given: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("ninefold.app.tables.check", fault)
    with pytest.raises(ZeroDivisionError):
        main(["check", "photos"])


def test_a_reader_that_closes_the_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m ninefold --help | true"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_the_working_folder_offers_parts_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    assert main(["recipes"]) == 0
    assert sys.path[-1] == str(tmp_path)


def test_flags_of_the_fields_take_one_word_several_or_none() -> None:
    from ninefold.app.flags import change, split
    from ninefold.recipes import find_recipe

    words = "quickstart --optim.lr=0.5 --augment.crop-area 0.2 1 --compile --no-preprocess.squash"
    rest, fields = split([*words.split(), "--model", "swin_tiny", "--optim.betas", "0.8", "0.9"])
    assert rest == ["quickstart", "--model", "swin_tiny"]
    run = change(find_recipe("quickstart")(), fields)
    assert run.optim.lr == 0.5
    assert run.augment.crop_area == (0.2, 1.0)
    assert (run.compile, run.preprocess.squash) == (True, False)
    assert run.optim.model_dump()["betas"] == (0.8, 0.9)


def test_recipes_compute_with_the_flags_they_are_told_and_fields_come_last() -> None:
    from ninefold.app.train import choose_run

    words = ["--batch-size", "128", "--optim", "sgd", "--optim.momentum", "0.5", "--steps", "9"]
    run = choose_run(cli.read("train", words))
    assert run.optim.model_dump() == {
        **ninefold.recipes.quickstart(optim="sgd", batch_size=128).optim.model_dump(),
        "momentum": 0.5,
    }
    assert (run.batch_size, run.steps, run.epochs) == (128, 9, 0)


def test_a_recorded_run_is_repeated_and_flags_change_it(tmp_path: Path) -> None:
    from ninefold.app.train import choose_run

    recorded = ninefold.recipes.quickstart(batch_size=32, seed=5)
    recorded.write(tmp_path / "run.yaml")
    assert choose_run(cli.read("train", [str(tmp_path / "run.yaml")])) == recorded
    assert choose_run(cli.read("train", ["--out", str(tmp_path), "--resume"])) == recorded
    other = choose_run(cli.read("train", [str(tmp_path / "run.yaml"), "--seed", "6"]))
    assert other == recorded.changed(seed=6)
