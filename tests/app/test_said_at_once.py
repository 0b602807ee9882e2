"""What does not fit, or may surprise, is said in a line before the work."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ninefold
from ninefold.app.cli import main
from ninefold.core.batch import Sample
from ninefold.core.errors import Refused, nearest
from ninefold.core.results import read_lines
from ninefold.core.weights import check_writable, write_weights
from ninefold.data.open import open_data
from ninefold.data.records import DataSet, Records
from ninefold.engine.remarks import fitted, remarks
from ninefold.models.create import create_model

Captured = pytest.CaptureFixture[str]

DATA = "synthetic://classification?size=32&train=48&val=24&test=24"
QUICK = ["--data", DATA, "--steps", "1", "--batch-size", "8", "--workers", "0"]


def refused(capsys: Captured, *words: str) -> str:
    """The one line on stderr of a command that is refused before work."""
    capsys.readouterr()
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err.rstrip("\n")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of `vit_atto`, with ten classes that have no names."""
    file = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    write_weights(file, create_model("vit_atto").state_dict())
    return str(file)


UNWRITABLE = [
    ("none/x.safetensors", "no such file or directory"),
    ("file/x.safetensors", "not a directory"),
    ("folder.safetensors", "is a directory"),
    ("x" * 300 + ".safetensors", "file name too long"),
]


@pytest.mark.parametrize(("out", "reason"), UNWRITABLE)
def test_a_file_that_cannot_be_written_is_refused_before_work(
    out: str, reason: str, weights: str, capsys: Captured
) -> None:
    Path("file").touch()
    Path("folder.safetensors").mkdir()
    for line in (
        refused(capsys, "convert", weights, out),
        refused(capsys, "embed", "vit_atto", "--weights", weights, DATA, "--out", out),
    ):
        assert f"{out}: cannot be written: {reason}" in line
    before = sorted(Path().iterdir())
    check_writable("x.safetensors")
    assert sorted(Path().iterdir()) == before


def test_what_is_no_run_is_refused_with_the_ways_to_come_by_one() -> None:
    train = inspect.unwrap(ninefold.train)  # without the tests' check of types
    with pytest.raises(Refused, match=r"train: 'runs/0001' is no run; .*open_run\(FOLDER\)"):
        train("runs/0001")
    with pytest.raises(Refused, match="train: a function is no run"):
        train(ninefold.recipes.quickstart)


def test_a_device_is_chosen_and_one_that_is_not_there_is_refused(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = refused(capsys, "train", *QUICK, "--device", "cuda")
    assert "--device cuda: this machine has none; it has cpu" in line
    assert "invalid choice: 'gpu'" in refused(capsys, "train", *QUICK, "--device", "gpu")
    assert main(["train", *QUICK, "--device", "cpu", "--out", "run"]) == 0
    assert "on cpu, " in capsys.readouterr().err
    assert not any(key == "device:" for key in Path("run/run.yaml").read_text().split())
    assert main(["eval", "run", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "macro_f1" in out
    assert "balanced_accuracy" in out
    assert "macro_f1" in read_lines("run/results.jsonl")[-1]


def told(data: str = DATA, passes: float = 1, **options: object) -> str:
    """What is said at the start of a run of so many passes over its data."""
    run = ninefold.recipes.quickstart(data=data, **options)
    with torch.device("meta"):
        model = create_model(run.model, image_size=run.preprocess.image_size)
    return "; ".join(remarks(run, model, open_data(data), passes))


def test_what_may_surprise_is_said_at_the_start_of_a_training(capsys: Captured) -> None:
    data = DATA.replace("train=48", "train=6")
    words = ["train", "--model", "vit_atto", "--image-size", "30", *QUICK, "--data", data]
    assert main([*words, "--steps", "2", "--batch-size", "6"]) == 0
    assert "vit_atto: patches cover 24 of 30 pixels a side" in capsys.readouterr().err


def test_what_becomes_of_a_head_that_nobody_gave_is_told_to_have_no_effect() -> None:
    assert "have no effect without weights" in told(head_map="rows.txt")
    assert "have no effect without weights" in told(reset_head=True)
    assert told(reset_head=True, weights="w.safetensors") == ""


def test_pixels_that_a_patch_leaves_over_are_told() -> None:
    said = told(model="vit_atto", image_size=30)
    assert "--image-size 24 has none left over" in said
    assert told(model="vit_atto", image_size=32) == ""


def test_pixels_that_are_seen_are_told_of_any_vit() -> None:
    with torch.device("meta"):
        assert create_model("vit_ti16", image_size=100).pixels_covered == (96, 96)
        assert create_model("vit_ti16", image_size=(96, 120)).pixels_covered == (96, 112)
        assert create_model("vit_r_ti16", image_size=100).pixels_covered == (96, 96)
        assert create_model("vit_r26_s32", image_size=100).pixels_covered == (
            100,
            100,
        )  # padded before


@pytest.mark.parametrize(
    ("model", "stride"),
    [
        ("efficientnet_atto", 32),
        ("efficientnet_v2_atto", 32),
        ("resnet_atto", 16),
        ("resnet50", 32),
        ("wide_resnet_atto", 4),
        ("shake_shake_atto", 4),
        ("pyramidnet_atto", 4),
    ],
)
def test_images_below_a_networks_stride_are_refused(
    model: str, stride: int, capsys: Captured
) -> None:
    line = refused(capsys, "train", "--model", model, "--image-size", "2", *QUICK)
    assert f"image_size 2 is below the network's stride of {stride} pixels" in line
    with torch.device("meta"):
        image = torch.empty(1, 3, stride, stride)
        net = create_model(model, image_size=stride).eval()
        assert net.features(image)[-1].shape[-2:] == (1, 1)


@pytest.mark.parametrize(
    ("model", "own", "size"),
    [
        ("efficientnet_atto", 20, 32),
        ("vit_atto", 20, 24),
        ("swin_atto", 18, 20),
        ("swin_atto", 80, 64),
        ("resnet_atto", 2, 16),
    ],
)
def test_images_own_size_is_made_one_that_the_model_takes_whole(
    model: str, own: int, size: int
) -> None:
    labels, image = [0], torch.zeros(3, own, own + 9, dtype=torch.uint8)
    records = Records(files=["a"], labels=labels, load=lambda i: Sample(image))
    data, notes = DataSet("a", "classification", ("a",), {"train": records}), list[str]()
    run = fitted(ninefold.recipes.quickstart(model=model), data, notes)
    assert run.preprocess.image_size == size
    assert [note.split(",")[0] for note in notes] == (
        [f"trains at {size} x {size} pixels"] if size < 64 else []
    )


def test_very_many_epochs_are_told_where_nobody_asked_for_them() -> None:
    assert "550 steps are 101 passes over the 48 training images" in told(passes=101)
    assert told(passes=101, epochs=101) == ""
    assert told(passes=100) == ""


def test_weights_of_another_architecture_are_not_blamed_on_their_head(
    weights: str, capsys: Captured
) -> None:
    words = ["train", "--data", DATA, "--steps", "1", "--weights", weights]
    line = refused(capsys, *words, "--model", "swin_atto")
    assert "does not fit Swin, as its architecture is another: " in line
    assert "its head knows" not in line
    line = refused(capsys, *words, "--model-options", "mlp_dim=200", "--model", "vit_atto")
    assert "does not fit ViT: 12 of another shape" in line
    line = refused(capsys, *words, "--model", "vit_atto")
    assert "its head knows 10 classes" in line


def test_a_verbs_name_stands_once_before_its_message(capsys: Captured) -> None:
    line = refused(capsys, "reproduce", "swin/cyclic-speed", "--data", "photos")
    assert line.startswith("ninefold reproduce: --data photos has no use")


def test_a_question_ends_with_its_mark_alone(capsys: Captured) -> None:
    assert nearest("timn", ["timm"], "there is timm") == "; did you mean 'timm'? there is timm"
    assert nearest("x", ["timm"], "there is timm") == "; there is timm"
    assert nearest("x", ["timm"]) == ""
    for words in (
        ["train", "--model-options", "depth=3", *QUICK],
        ["train", "--model", "vit_atto", "--model-options", "gelu=tanhh", *QUICK],
        ["train", "--data", "synthetic://clasification"],
        ["train", "--data", "synthetic://classification?sise=3&tain=3"],
    ):
        line = refused(capsys, *words)
        assert "?" in line
        assert "?;" not in line


def test_class_names_without_a_font_are_told(capsys: Captured) -> None:
    """Letters of an area for private use, which no font has."""
    for name in ("cat", "\ue000\ue001"):
        for i in range(12):
            path = Path(f"photos/{name}/{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path)
    assert "no font here has the letters of the classes \\ue000\\ue001; figures" in told("photos")
