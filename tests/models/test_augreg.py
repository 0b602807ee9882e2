"""AugReg's names and index: what they say, and which file the paper's rule takes."""

import csv
from pathlib import Path
from typing import Any

import pytest
import timm
from hypothesis import given
from hypothesis import strategies as st

from ninefold.app.cli import main
from ninefold.core.errors import Refused
from ninefold.core.weights import write_weights
from ninefold.models.augreg import (
    AUGMENTS,
    FileName,
    FineTuning,
    choose,
    preset_name,
    read_index,
    select,
)
from ninefold.models.create import create_model
from ninefold.models.presets import PRESETS
from ninefold.models.vit_keys import VIT

MODELS = ["Ti/16", "S/32", "S/16", "B/32", "B/16", "B/8", "L/16"]
MODELS += ["R+Ti/16", "R26+S/32", "R50+L/32"]
RECOMMENDED = "R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0"
TUNED = f"{RECOMMENDED}--imagenet2012-steps_20k-lr_0.01-res_384"


def cells(model: str, **changed: Any) -> dict[str, Any]:
    """One row under the index's own columns, as its authors describe them."""
    row: dict[str, Any] = {
        "name": model, "ds": "i21k", "epochs": 300.0, "lr": 0.001, "aug": "light1", "wd": 0.1,
        "do": 0.0, "sd": 0.0, "best_val": 0.41, "final_val": 0.40, "final_test": 0.39,
        "adapt_ds": "imagenet2012", "adapt_lr": 0.01, "adapt_steps": 20000,
        "adapt_resolution": 384, "adapt_final_val": 0.85, "adapt_final_test": 0.84,
        "params": 36_000_000, "infer_samples_per_sec": 560.0,
    } | changed  # fmt: skip
    tuned = FineTuning(row["adapt_ds"], row["adapt_steps"] // 1000, row["adapt_lr"],
                       row["adapt_resolution"])  # fmt: skip
    own = (model, row["ds"].partition("_")[0], int(row["epochs"]), row["lr"],
           AUGMENTS[row["aug"]], row["wd"], row["do"], row["sd"])  # fmt: skip
    row["filename"] = str(FileName(*own)).removesuffix(".npz")
    row["adapt_filename"] = str(FileName(*own, tuned)).removesuffix(".npz")
    return row


def index(path: Path, *rows: dict[str, Any]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_the_files_that_the_authors_recommend_are_read_by_name_and_written_alike() -> None:
    name = FileName.parse(TUNED)
    assert name.model == "R26+S/32"
    assert name.augment == "light2"  # the paper's name of the files' light1
    assert name.tuned == FineTuning("imagenet2012", 20, 0.01, 384)
    assert str(name) == f"{TUNED}.npz"
    assert FileName.parse(f"gs://vit_models/augreg/{RECOMMENDED}.npz").tuned is None
    assert FileName.parse("R_Ti_16-i21k-30ep-lr_0.001-aug_none-wd_0.03-do_0.1-sd_0.1").epochs == 30


@pytest.mark.parametrize("name", ["ViT-B_16.npz", TUNED.replace("light1", "light2"), f"x{TUNED}"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="is no name of AugReg's"):
        FileName.parse(name)


@given(
    st.builds(
        FileName, st.sampled_from(MODELS), st.sampled_from(["i1k", "i21k"]),
        st.sampled_from([30, 300]), st.just(0.001), st.sampled_from(sorted(AUGMENTS.values())),
        st.sampled_from([0.03, 0.1]), st.sampled_from([0.0, 0.1]), st.sampled_from([0.0, 0.1]),
        st.none() | st.builds(
            FineTuning, st.sampled_from(["cifar100", "oxford_iiit_pet"]),
            st.sampled_from([0, 2, 10, 20]), st.sampled_from([0.001, 0.003, 0.01, 0.03]),
            st.sampled_from([224, 384])),
    )
)  # fmt: skip
def test_every_name_comes_back_from_what_it_says(name: FileName) -> None:
    assert FileName.parse(str(name)) == name


def test_every_model_of_the_index_has_a_preset_here_at_both_sizes() -> None:
    assert [m for m in MODELS if preset_name(m) not in PRESETS] == []
    assert [m for m in MODELS if preset_name(m, 384) not in PRESETS] == []


def test_every_name_that_timm_took_from_augreg_is_read() -> None:
    addresses = [timm.get_pretrained_cfg(name).url or "" for name in timm.list_pretrained("vit_*")]
    names = [url for url in addresses if "/augreg/" in url]
    assert len(names) > 20
    assert [n for n in names if str(FileName.parse(n)) != n.rpartition("/")[2]] == []


def test_the_files_behind_our_presets_are_those_that_timm_names() -> None:
    files = {name: p.authors_file for name, p in PRESETS.items() if "-i21k-" in p.authors_file}
    assert len(files) > 15
    for name, file in files.items():
        told = FileName.parse(file)
        assert told.tuned
        assert preset_name(told.model, told.tuned.image_size) == name
        hub = PRESETS[name].weights.split("/")[3]
        assert timm.get_pretrained_cfg(hub).url.endswith(f"/{file}")


def test_the_best_upstream_validation_decides_and_no_test_figure_does(tmp_path: Path) -> None:
    path = index(
        tmp_path / "index.csv",
        cells("B/16", aug="medium1", final_val=0.45, final_test=0.1, adapt_final_val=0.1),
        cells("B/16", aug="medium1", final_val=0.45, adapt_lr=0.03, adapt_final_val=0.2,
              adapt_final_test=0.0),
        cells("B/16", aug="none", final_val=0.44, best_val=0.9, final_test=0.9,
              adapt_final_val=0.9, adapt_final_test=0.9),
        cells("B/8", aug="medium2", final_val=0.5, adapt_resolution=224,
              infer_samples_per_sec=""),
        cells("B/16", ds="i1k", final_val=0.8),
        cells("B/16", ds="i21k_30", epochs=30, final_val=0.9),
    )  # fmt: skip
    rows = read_index(path)
    first, second = choose(select(rows, upstream="i21k"))
    assert (first.preset, second.preset) == ("vit_b8", "vit_b16_384")
    assert (second.augment, second.tuned_lr) == ("medium1", 0.03)
    assert FileName.parse(second.tuned_file).tuned == FineTuning("imagenet2012", 20, 0.03, 384)
    assert choose(select(rows, upstream="i21k", augment="none"))[0].final_val == 0.44
    with pytest.raises(Refused, match="i1k and i21k were validated on different images"):
        choose(rows)


def test_filters_are_checked_by_name_and_value(tmp_path: Path) -> None:
    rows = read_index(index(tmp_path / "i.csv", cells("B/16"), cells("R26+S/32", wd=0.03)))
    assert [r.model for r in select(rows, weight_decay=0.03)] == ["R26+S/32"]
    assert [r.model for r in select(rows, model="vit_b16")] == ["B/16"]
    assert [r.model for r in select(rows, model="R*")] == ["R26+S/32"]
    with pytest.raises(Refused, match=r"no filter 'augmen'; did you mean 'augment'\?"):
        select(rows, augmen="none")
    with pytest.raises(Refused, match=r"image_size 224: no row.*there are 384"):
        select(rows, image_size=224)
    with pytest.raises(Refused, match="no filter 'tuned_test'"):
        select(rows, tuned_test=0.84)


def test_a_table_of_another_kind_and_a_torn_line_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,label\nx.jpg,cat\n")
    with pytest.raises(Refused, match=r"a\.csv: has no column adapt_ds, adapt_filename"):
        read_index(tmp_path / "a.csv")
    with pytest.raises(Refused, match=r"b\.csv: line 3: wd is 'much'; a number"):
        read_index(index(tmp_path / "b.csv", cells("B/16"), cells("B/16") | {"wd": "much"}))
    with pytest.raises(Refused, match=r"c\.csv: No such file"):
        read_index(tmp_path / "c.csv")


def test_the_command_names_the_file_to_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = index(tmp_path / "index.csv", cells("R26+S/32"), cells("B/16", adapt_ds="cifar100"))
    assert main(["models", "--augreg", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["model", "vit_r26_s32", "vit_b16"]
    assert lines[1].endswith(f"/augreg/{RECOMMENDED}.npz")
    assert main(["models", "*", "--augreg", str(path), "--where", "image_size=384"]) == 0
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.split()[0] == "vit_r26_s32_384"
    assert line.endswith(f"/augreg/{TUNED}.npz")
    assert main(["models", "--where", "data=cifar100"]) == 2
    assert main(["models", "--augreg", str(path), "--where", "upstream=i1k"]) == 2


def test_convert_tells_what_the_name_says_and_that_the_shapes_are_anothers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = create_model("vit_atto")
    write_weights(
        tmp_path / f"{TUNED}.npz", VIT.write(model.state_dict(), "flax", {"num_heads": 3})
    )
    assert main(["convert", str(tmp_path / f"{TUNED}.npz")]) == 0
    out = capsys.readouterr().out
    assert "its name says vit_r26_s32_384, i21k for 300 epochs, augment light2" in out
    assert "then imagenet2012, learning rate 0.01, 384 pixels; the shapes are another" in out
