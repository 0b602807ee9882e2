"""A part of a data set, by its address."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from zoo import photo

from ninefold.core.errors import Refused
from ninefold.data.open import open_data
from ninefold.data.records import DataSet


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 20 images to train on and 4 to test on."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for split, count in (("train", 20), ("test", 4)):
        for k, name in enumerate(("ant", "bee", "sea cow")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                seed = 1000 * (split == "test") + 100 * k + i
                Image.fromarray(photo(6, 8, seed=seed)).save(folder / f"{i}.png")
    return root


def counts(data: DataSet) -> dict[str, dict[str, int]]:
    return {
        split: dict(Counter(data.classes[k] for k in records.labels if isinstance(k, int)))
        for split, records in data.splits.items()
    }


def test_chosen_classes_keep_their_order_and_all_their_images(photos: Path) -> None:
    data = open_data(f"{photos}?classes=sea%20cow,ant")
    assert data.classes == ("ant", "sea cow")
    assert counts(data) == {
        "train": {"ant": 18, "sea cow": 18},
        "val": {"ant": 2, "sea cow": 2},
        "test": {"ant": 4, "sea cow": 4},
    }
    for records in data.splits.values():
        for file, label in zip(records.files, records.labels, strict=True):
            assert isinstance(label, int)
            assert Path(file).parent.name == data.classes[label]
    assert data.notes[-1] == "part of the set: 2 classes (36 train, 4 val, 8 test)"


def test_so_many_images_a_class_are_kept_in_all_splits_but_test(photos: Path) -> None:
    data = open_data(f"{photos}?per_class=1")
    one = {"ant": 1, "bee": 1, "sea cow": 1}
    assert counts(data) == {"train": one, "val": one, "test": dict.fromkeys(one, 4)}


def test_a_larger_part_holds_a_smaller_one_and_validation_is_never_trained_on(
    photos: Path,
) -> None:
    whole = open_data(photos)
    kept = [set(open_data(f"{photos}?per_class={n}").splits["train"].files) for n in (2, 5, 99)]
    assert kept[0] < kept[1] < kept[2] == set(whole.splits["train"].files)
    assert not kept[2] & set(whole.splits["val"].files)


def test_another_pick_gives_other_images_and_the_same_one_the_same(photos: Path) -> None:
    def files(pick: int) -> list[str]:
        return list(open_data(f"{photos}?per_class=3&pick={pick}").splits["train"].files)

    assert files(0) == files(0)
    assert files(0) != files(1)
    first = open_data(f"{photos}?per_class=3&pick=0")
    assert first.fingerprint != open_data(f"{photos}?per_class=3&pick=1").fingerprint


def test_what_is_chosen_does_not_depend_on_names_of_files(photos: Path, tmp_path: Path) -> None:
    """Renamed so that their order is another one."""
    for file in photos.rglob("*.png"):
        other = tmp_path / file.relative_to(photos).with_stem(f"{99 - int(file.stem)}")
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(file.read_bytes())

    def pixels(root: Path) -> set[bytes]:
        return {
            Path(f).read_bytes() for f in open_data(f"{root}?per_class=4").splits["train"].files
        }

    assert pixels(photos) == pixels(tmp_path)


def test_a_share_is_held_out_for_validation(photos: Path) -> None:
    data = open_data(f"{photos}?hold_out=0.25")
    each = {"train": 15, "val": 5, "test": 4}
    assert counts(data) == {s: dict.fromkeys(data.classes, n) for s, n in each.items()}
    assert "a share of 0.25 of the training part" in data.notes[-1]
    few = open_data(f"{photos}?hold_out=0.25&per_class=3")
    assert counts(few)["train"] == counts(few)["val"] == dict.fromkeys(data.classes, 3)


def test_a_held_out_share_makes_a_validation_part_the_test_part(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "train").symlink_to(photos / "train")
    (tmp_path / "val").symlink_to(photos / "test")
    plain, data = open_data(tmp_path), open_data(f"{tmp_path}?hold_out=0.1")
    assert set(plain.splits) == {"train", "val"}
    assert data.splits["test"].files == plain.splits["val"].files
    assert set(data.splits["val"].files) < set(plain.splits["train"].files)
    assert not set(data.splits["val"].files) & set(data.splits["train"].files)
    assert any("validation part is the test part" in note for note in data.notes)


def test_of_one_folder_a_share_is_held_out_behind_the_test_part(photos: Path) -> None:
    data = open_data(f"{photos / 'train'}?hold_out=0.5")
    each = {"train": 9, "val": 9, "test": 2}
    assert counts(data) == {s: dict.fromkeys(data.classes, n) for s, n in each.items()}


def test_generated_sets_take_the_keys_among_their_own() -> None:
    address = "synthetic://classification?size=16&train=60&val=24&test=24&seed=1"
    whole, data = open_data(address), open_data(f"{address}&classes=ring,star&per_class=2&pick=3")
    assert data.classes == tuple(name for name in whole.classes if name in ("ring", "star"))
    assert counts(data)["train"] == {"ring": 2, "star": 2}
    for i, file in enumerate(data.splits["test"].files):
        same = whole.splits["test"]
        theirs = same.load(list(same.files).index(file))
        assert bool((data.splits["test"].load(i).x == theirs.x).all())


def test_several_labels_keep_those_that_are_chosen(photos: Path, tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes((photos / f"train/ant/{i}.png").read_bytes())
    rows = ["a;b,train", "b,train", "c,train", "a;c,val", "c,val"]
    table = "\n".join(["image,label,split", *(f"{i}.png,{row}" for i, row in enumerate(rows))])
    (tmp_path / "table.csv").write_text(table, encoding="utf-8")
    data = open_data(f"{tmp_path}/table.csv?classes=a,b")
    assert list(data.splits["train"].labels) == [(0, 1), (1,)]
    assert list(data.splits["val"].labels) == [(0,)]
    with pytest.raises(Refused, match="one label each"):
        open_data(f"{tmp_path}/table.csv?per_class=1")


def test_a_path_that_holds_a_question_mark_is_a_path(photos: Path, tmp_path: Path) -> None:
    odd = tmp_path / "what?classes=bee"
    odd.symlink_to(photos)
    assert open_data(str(odd)).classes == ("ant", "bee", "sea cow")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("classes=ants", "has no class 'ants'; did you mean 'ant'"),
        ("classes=", "classes names none"),
        ("hold_out=1", "hold_out is '1'; a share between 0 and 1"),
        ("hold_out=some", "hold_out is 'some'; a share"),
        ("class=ant", "unknown key 'class'; did you mean 'classes'"),
        ("per_class=0", "per_class is '0'; a whole number from 1 on"),
        ("per_class=many", "per_class is 'many'"),
        ("classes=ant&classes=bee", "given twice"),
        ("classes=ant&pick=1", "pick has no effect without per_class"),
    ],
)
def test_keys_that_mean_nothing_are_refused(photos: Path, query: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        open_data(f"{photos}?{query}")


def test_a_share_beside_validation_and_test_parts_is_refused() -> None:
    with pytest.raises(Refused, match="has a validation part and a test part, too"):
        open_data("synthetic://classification?size=16&train=8&val=8&test=8&hold_out=0.1")
