"""The verbs at work, in this process, on generated pictures; and every kind of bad input."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ninefold.app.cli import main
from ninefold.core.results import read_lines
from ninefold.core.weights import read_weights
from ninefold.data.synthetic import open_synthetic, write_folder

Captured = pytest.CaptureFixture[str]

DATA = "synthetic://classification?size=32&train=48&val=24&test=24"
SMALL = ["--model-options", "embed_dim=8", "depths=[1,1]", "num_heads=[1,2]", "--image-size", "32"]
QUICK = [*SMALL, "--steps", "2", "--batch-size", "8", "--workers", "0"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated pictures as a folder of photos, `{train,val,test}/<class>/*.png`."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    write_folder(open_synthetic(DATA), folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A trained run."""
    folder = tmp_path_factory.mktemp("runs") / "0001"
    assert main(["train", "--data", str(photos), "--out", str(folder), *QUICK]) == 0
    return folder


def refused(capsys: Captured, *words: str, code: int = 2) -> str:
    """The one line on stderr of a command that is refused before work."""
    capsys.readouterr()
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err.rstrip("\n")


def test_train_with_nothing_but_a_length_prints_its_folder_first_and_names_what_to_open(
    capsys: Captured,
) -> None:
    Path("runs/0001").mkdir(parents=True)
    assert main(["train", "--data", DATA, *QUICK]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "runs/0002"
    for told in ("runs/0002/figures/learning_curves.png", "test: top1 ", "ninefold predict"):
        assert told in out
    assert "epoch" in err
    assert Path("runs/0002/model.safetensors").is_file()


def test_a_run_file_repeats_its_run_to_the_bit(run: Path) -> None:
    again = Path("again")
    assert main(["train", str(run / "run.yaml"), "--out", str(again)]) == 0
    assert (again / "run.yaml").read_text() == (run / "run.yaml").read_text()
    first, second = (read_lines(f / "log.jsonl") for f in (run, again))
    assert [line["loss"] for line in first] == [line["loss"] for line in second]


def test_an_existing_run_is_refused_without_resume_and_gone_on_with_it(
    run: Path, photos: Path, capsys: Captured
) -> None:
    words = ["train", "--data", str(photos), "--out", str(run), *QUICK]
    line = refused(capsys, *words)
    assert "--resume" in line
    assert main([*words, "--resume"]) == 0


def test_seeds_give_mean_spread_and_interval(capsys: Captured) -> None:
    words = ["train", "--data", DATA, *QUICK, "--seeds", "2", "--out", "both"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "both"
    assert "95 % interval" in out
    summary = json.loads(Path("both/summary.json").read_text())
    assert set(summary["test"]["top1"]["values"]) == {"0", "1"}
    assert Path("both/seed_1/model.safetensors").is_file()
    assert "--resume" in refused(capsys, *words)
    assert main(["train", "--out", "both", "--seeds", "3", "--resume"]) == 0
    again = json.loads(Path("both/summary.json").read_text())["test"]["top1"]["values"]
    assert set(again) == {"0", "1", "2"}
    assert again["0"] == summary["test"]["top1"]["values"]["0"]
    for one in (["--resume"], ["quickstart", "--data", DATA]):
        line = refused(capsys, "train", "--out", "both", *one)
        assert "both: holds runs of several seeds; go on with them by --seeds N --resume" in line


def test_eval_prints_the_metrics_and_keeps_them(run: Path, photos: Path, capsys: Captured) -> None:
    before = read_lines(run / "results.jsonl")
    assert main(["eval", str(run)]) == 0
    assert "top1" in capsys.readouterr().out
    after = read_lines(run / "results.jsonl")
    assert len(after) == len(before) + 1
    assert after[-1]["split"] == "test"
    assert after[-1]["top1"] == [line for line in before if line["split"] == "test"][-1]["top1"]
    assert main(["eval", str(run), "--data", str(photos / "test")]) == 0
    assert read_lines(run / "results.jsonl")[-1]["top1"] == after[-1]["top1"]


def test_eval_takes_a_model_with_weights_for_a_run(
    run: Path, photos: Path, capsys: Captured
) -> None:
    words = ["eval", "swin_atto", "--weights", str(run / "model.safetensors")]
    assert main([*words, "--data", str(photos)]) == 0
    assert "top1" in capsys.readouterr().out
    assert "no data given; --data" not in refused(capsys, *words, "--data", "nowhere")


def test_predict_writes_a_json_line_an_image_and_pictures(
    run: Path, photos: Path, capsys: Captured
) -> None:
    files = sorted((photos / "test").rglob("*.png"))[:3]
    words = ["predict", str(run), *map(str, files), "--top", "2", "--out", "seen"]
    capsys.readouterr()
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == list(map(str, files))
    for line in lines:
        assert set(line) == {"file", "label", "probability", "uncertainty", "top"}
        assert line["top"][0] == [line["label"], line["probability"]]
        assert len(line["top"]) == 2
    assert len(list(Path("seen").glob("*.png"))) == 3


def test_predict_names_a_bad_file_and_goes_on_with_the_rest(
    run: Path, photos: Path, capsys: Captured
) -> None:
    good = next((photos / "test").rglob("*.png"))
    Path("bad.jpg").write_bytes(b"\xff\xd8 torn")
    capsys.readouterr()
    assert main(["predict", str(run), "bad.jpg", str(good), "gone.jpg"]) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["file"] for line in out.splitlines()] == [str(good)]
    assert "bad.jpg" in err
    assert "gone.jpg" in err
    assert err.count("\n") == 2
    assert "bad.jpg" in refused(capsys, "predict", str(run), "bad.jpg")


def test_a_picture_shortens_a_label_that_would_reach_its_probability() -> None:
    from ninefold.app.pictures import LINE, SIDE, save_picture
    from ninefold.engine.opened import Prediction

    long = [("W" * 99, 0.001), ("\u732b " * 40, 0.001)]
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    save_picture(image, Prediction("a.png", *long[0], 0.5, long), Path("long.png"))
    short = [("W", 0.001), ("\u732b", 0.001)]
    save_picture(image, Prediction("a.png", *short[0], 0.5, short), Path("short.png"))
    gap, bottom = SIDE - 84 + 8, SIDE + 4 + 2 * LINE
    one, other = (
        np.asarray(Image.open(f"{name}.png"))[SIDE + 6 : bottom, gap:] for name in ("long", "short")
    )
    assert (one == other).all()


def test_eval_of_a_run_that_may_not_be_written_to_prints_and_says_so(
    run: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    assert "batch_size is 0" in refused(capsys, "eval", str(run), "--batch-size", "0")
    monkeypatch.setattr("ninefold.app.measures.append_line", refuse)
    capsys.readouterr()
    assert main(["eval", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "\nimages" in out
    assert err == f"ninefold eval: {run / 'results.jsonl'}: not kept there: permission denied\n"


def test_embed_writes_features_a_picture_and_a_line_a_probe(
    run: Path, photos: Path, capsys: Captured
) -> None:
    before = len(read_lines(run / "results.jsonl"))
    capsys.readouterr()
    words = ["embed", str(run), str(photos), "--workers", "0"]
    assert main([*words, "--probe", "linear", "knn"]) == 0
    out = capsys.readouterr().out
    assert "lambda=" in out
    assert "k=" in out
    assert "features.safetensors: 96 images, 16 features each" in out
    assert (run / "figures" / "features.png").is_file()
    lines = read_lines(run / "results.jsonl")[before:]
    assert [(line["probe"], line["split"]) for line in lines] == [
        ("linear", "test"),
        ("knn", "test"),
    ]
    assert lines[0]["nll"] >= 0
    assert "seed" not in lines[0]  # which marks the training's own
    assert main([*words, "--out", "few.safetensors"]) == 0
    assert Path("few.png").is_file()


def test_embed_refuses_before_work(run: Path, photos: Path, capsys: Captured) -> None:
    words = ["embed", str(run), str(photos)]
    assert "did you mean 'linear'" in refused(capsys, *words, "--probe", "linaer")
    model = run / "model.safetensors"
    assert "holds no features" in refused(capsys, *words, "--out", str(model))
    assert "no such path" in refused(capsys, "embed", str(run), "nowhere")
    loose = Path("loose")
    loose.mkdir()
    shutil.copy(next((photos / "test").rglob("*.png")), loose)
    assert "no labels" in refused(capsys, "embed", str(run), str(loose), "--probe", "knn")


def test_convert_writes_what_eval_and_predict_open(run: Path, capsys: Captured) -> None:
    source = run / "model.safetensors"
    assert main(["convert", str(source), "plain.safetensors"]) == 0
    assert "plain.safetensors" in capsys.readouterr().out
    assert "plain.safetensors" in refused(capsys, "convert", str(source), "plain.pth")


def test_convert_without_a_name_to_write_says_what_a_file_is(run: Path, capsys: Captured) -> None:
    before = sorted(Path().iterdir())
    assert main(["convert", str(run)]) == 0
    told = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    data = (run / "model.safetensors").read_bytes()
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    assert told["model"] == "swin_atto"
    assert sorted(Path().iterdir()) == before
    assert "name a file to write" in refused(capsys, "convert", str(run), "--to", "timm")


def test_a_run_is_written_for_another_library_and_comes_back(run: Path, capsys: Captured) -> None:
    assert main(["convert", str(run), "out.pth", "--to", "timm"]) == 0
    assert main(["convert", "out.pth"]) == 0
    assert "timm, of swin" in capsys.readouterr().out
    assert "head.fc.weight" in read_weights("out.pth").tensors


def test_eval_of_a_file_tells_the_file_and_a_line(
    run: Path, photos: Path, capsys: Captured
) -> None:
    file = run / "model.safetensors"
    capsys.readouterr()
    assert main(["eval", "swin_atto", "--weights", str(file), "--data", str(photos)]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert line["bytes"] == file.stat().st_size
    assert (line["model"], line["weights"]) == ("swin_atto", str(file))
    assert line["missing"] == 0
    assert 0 <= line["top1"] <= 1


def test_a_model_named_in_full_is_told_in_full(capsys: Captured) -> None:
    assert main(["models", "swin_tiny"]) == 0
    out = capsys.readouterr().out
    for part in ("28,288,354", "hf://timm/", "MIT", "81.2 %", "no; its layout is tested"):
        assert part in out


def test_check_finds_nothing_in_good_data_and_names_what_is_wrong(
    photos: Path, capsys: Captured
) -> None:
    folder = Path("mine")
    shutil.copytree(photos, folder)
    assert main(["check", str(folder)]) == 0
    torn = next((folder / "train").rglob("*.png"))
    torn.write_bytes(torn.read_bytes()[:100])
    capsys.readouterr()
    assert main(["check", str(folder)]) == 1
    assert torn.name in capsys.readouterr().out


# Bad input, each one line and exit code 2, before any training.


def _photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path))).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def _nowhere() -> None:
    pass


def _no_images() -> None:
    Path("photos/train/cat").mkdir(parents=True)
    Path("photos/train/cat/notes.txt").write_text("no image")


def _class_without_images() -> None:
    for name in ("cat", "dog"):
        for i in range(12):
            _photo(Path(f"photos/train/{name}/{i}.png"))
    Path("photos/train/emu").mkdir()


def _corrupt_file() -> None:
    for name in ("cat", "dog"):
        for split in ("train", "val"):
            for i in range(4):
                _photo(Path(f"photos/{split}/{name}/{i}.png"))
    Path("photos/train/cat/1.png").write_bytes(b"\x89PNG torn")


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (_nowhere, ["photos"]),
        (_no_images, ["photos", "image"]),
        (_class_without_images, ["emu"]),
        (_corrupt_file, ["photos/train/cat/1.png"]),
    ],
)
def test_bad_data_are_refused_before_training(
    prepare: object, told: list[str], capsys: Captured
) -> None:
    assert callable(prepare)
    prepare()
    line = refused(capsys, "train", "--data", "photos", *QUICK)
    assert line.startswith("ninefold train: ")
    assert all(word in line for word in told), line
    assert not Path("runs").exists()


def _two_classes() -> None:
    for name in ("cat", "dog"):
        for i in range(12):
            _photo(Path(f"photos/{name}/{i}.png"))


@pytest.mark.parametrize("words", [["--out", "photos"], ["--out", "photos/run", "--find-lr"]])
def test_a_run_never_stands_among_the_classes_of_its_data(
    words: list[str], capsys: Captured
) -> None:
    _two_classes()
    line = refused(capsys, "train", "--data", "photos", *words, *QUICK)
    assert f"{words[1]}: lies in the data, photos" in line
    assert sorted(p.name for p in Path("photos").iterdir()) == ["cat", "dog"]


def test_a_run_never_stands_in_a_split_of_its_data(photos: Path, capsys: Captured) -> None:
    out = str(photos / "train" / "run")
    line = refused(capsys, "train", "--data", str(photos), "--out", out, *QUICK)
    assert f"{out}: lies in the data" in line
    assert not Path(out).exists()


def test_a_run_stands_beside_the_splits_of_its_data(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photos, "mine")
    monkeypatch.chdir("mine")
    assert main(["train", "--data", ".", *QUICK]) == 0


def test_without_an_out_the_folder_of_classes_is_refused_too(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_classes()
    monkeypatch.chdir("photos")
    assert "runs: lies in the data, ." in refused(capsys, "train", "--data", ".", *QUICK)


def test_a_folder_that_may_not_be_written_to_is_refused(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("locked").mkdir()
    Path("file").touch()
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root, who may all
    for words in ([], ["--find-lr"], ["--seeds", "2"]):
        line = refused(capsys, "train", "--data", DATA, "--out", "locked", *words, *QUICK)
        assert "locked: may not be written to" in line
        line = refused(capsys, "train", "--data", DATA, "--out", "file/x", *words, *QUICK)
        assert "file/x: cannot be made: not a directory" in line
    assert list(Path("locked").iterdir()) == []


def test_a_runs_folder_is_no_recipe_no_seeds_and_no_weights(run: Path, capsys: Captured) -> None:
    told = refused(capsys, "train", str(run))
    assert "name its run.yaml to repeat it" in told
    assert "--resume" in told
    words = ["--data", DATA, *QUICK]
    told = refused(capsys, "train", *words, "--seeds", "2", "--out", str(run))
    assert "holds one run, not several seeds" in told
    told = refused(capsys, "train", *words, "--weights", str(run))
    assert "is a folder with " in told
    assert "model.safetensors" in told


def test_weights_with_other_classes_are_refused_with_both_lists_and_a_way_out(
    run: Path, capsys: Captured
) -> None:
    for name in ("cat", "dog"):
        for split in ("train", "val", "test"):
            for i in range(4):
                _photo(Path(f"photos/{split}/{name}/{i}.png"))
    weights = str(run / "model.safetensors")
    words = ["train", "--data", "photos", "--weights", weights, *QUICK]
    line = refused(capsys, *words)
    for told in ("cat, dog", "arrow", "--reset-head"):
        assert told in line
    assert main([*words, "--reset-head"]) == 0
    tuned = ["train", "finetune", "--data", "photos", "--weights", weights, *QUICK]
    assert main([*tuned, "--model", "swin_atto"]) == 0
    assert "head" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--image-size", "3"],
        ["--model-options", "ape=true", "--image-size", "2"],
    ],
)
def test_an_image_size_that_does_not_fit_is_refused(words: list[str], capsys: Captured) -> None:
    line = refused(capsys, "train", "--data", DATA, "--steps", "1", "--batch-size", "8", *words)
    assert words[-1] in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eval", "nowhere"], "nowhere"),
        (["predict", "swin_atto", "x.png"], "x.png"),
        (["eval", "swin_tiny"], "--weights FILE"),
        (["eval", "swin_tny", "--weights", "x.pth"], "did you mean 'swin_tiny'?"),
        (["eval", "swin_tiny", "--weights", "x.pth"], "x.pth"),
        (["check", "nowhere"], "nowhere"),
        (["convert", "nowhere.pth", "out.safetensors"], "nowhere.pth"),
        (["train", "--model", "own_parts.modl:Small"], "own_parts.modl"),
        (["train", "--data", DATA, "--augment", "own_parts.modl:flip"], "own_parts.modl"),
        (["train", "--data", "synthetic://classification?sise=3"], "sise"),
        (["train", "--model-options", "depth=3"], "did you mean 'depths'"),
    ],
)
def test_names_that_lead_nowhere_are_refused(words: list[str], told: str, capsys: Captured) -> None:
    assert told in refused(capsys, *words)
