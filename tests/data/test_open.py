"""Layouts on disk, tables and objects to records."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from zoo import photo, write_bad, write_good

from ninefold.core.errors import Refused
from ninefold.core.preprocess import Preprocess
from ninefold.data.check import count_data
from ninefold.data.folder import holds_plain_images
from ninefold.data.loader import evaluation_batches
from ninefold.data.open import open_data, open_images
from ninefold.data.records import DataSet
from ninefold.data.split import content_keys
from ninefold.data.verify import verify


def fill(folder: Path, count: int, *, first: int = 0) -> None:
    """Images of different content."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        Image.fromarray(photo(6, 8, seed=i)).save(folder / f"{i}.png")


def tree(root: Path, **counts: int) -> Path:
    """Folders by path, with so many images each."""
    for n, (name, count) in enumerate(counts.items()):
        fill(root / name.replace("__", "/"), count, first=100 * n)
    return root


def sizes(data: DataSet) -> dict[str, int]:
    return {split: len(records) for split, records in data.splits.items()}


def write_table(path: Path, rows: list[str], *, images: int = 12) -> Path:
    fill(path.parent / "images", images)
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


# Folders


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_split_folders_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    counts = {"train__cat": 5, "train__dog": 4, f"{name}__cat": 2, f"{name}__dog": 2}
    data = open_data(tree(tmp_path, **counts, test__dog=1))
    assert sizes(data) == {"train": 9, "val": 4, "test": 1}
    assert data.classes == ("cat", "dog")
    assert data.task == "classification"
    assert data.notes == ()
    for split, records in data.splits.items():
        for i, (file, label) in enumerate(zip(records.files, records.labels, strict=True)):
            assert Path(file).parent.name == data.classes[label]
            assert Path(file).parents[1].name.lower().startswith(split)
            sample = records.load(i)
            assert sample.y == label
            assert np.array_equal(sample.x.permute(1, 2, 0).numpy(), np.asarray(Image.open(file)))


def test_a_missing_validation_part_is_cut_from_training_and_test_is_left_alone(
    tmp_path: Path,
) -> None:
    data = open_data(tree(tmp_path, train__a=40, train__b=20, test__a=3))
    assert sizes(data) == {"train": 54, "val": 6, "test": 3}
    assert [data.splits["val"].labels.count(label) for label in (0, 1)] == [4, 2]
    assert "a tenth of the training part, by a hash of the content" in data.notes[0]
    assert "the test part is untouched" in data.notes[0]


def test_a_folder_without_splits_is_split_by_content(tmp_path: Path) -> None:
    data = open_data(tree(tmp_path / "one", a=50, b=30))
    assert sizes(data) == {"train": 64, "val": 8, "test": 8}
    assert "split 80/10/10 by a hash of the content: 64 train, 8 val, 8 test" in data.notes[0]
    for i, file in enumerate(sorted((tmp_path / "one").glob("*/*"))):
        moved = tmp_path / "two" / file.parent.name / f"{997 * i % 1000}.png"
        moved.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, moved)
    again = open_data(tmp_path / "two")
    for split in data.splits:
        parts = [set(content_keys(d.splits[split].files)) for d in (data, again)]
        assert parts[0] == parts[1]


def test_equal_files_are_never_on_both_sides(tmp_path: Path) -> None:
    tree(tmp_path, a=30, b=30)
    for file in list(tmp_path.glob("*/*.png")):
        shutil.copy(file, file.with_name(f"copy of {file.name}"))
    data = open_data(tmp_path)
    parts = [set(content_keys(records.files)) for records in data.splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60


def test_without_cutting_a_set_keeps_the_splits_it_came_with(tmp_path: Path) -> None:
    assert sizes(open_data(tree(tmp_path / "a", x=3, y=4), cut=False)) == {"all": 7}
    split = tree(tmp_path / "b", train__x=3, test__x=4)
    assert sizes(open_data(split, cut=False)) == {"train": 3, "test": 4}
    assert sizes(open_data(tree(tmp_path / "c", test__x=4), cut=False)) == {"test": 4}


def test_classes_are_sorted_as_people_count(tmp_path: Path) -> None:
    data = open_data(tree(tmp_path, **{"class 10": 1, "class 9": 1, "B": 1, "a": 1}), cut=False)
    assert data.classes == ("a", "B", "class 9", "class 10")


def test_hidden_files_nested_folders_and_odd_names_are_no_trouble(tmp_path: Path) -> None:
    tree(tmp_path, **{"süß und sauer": 2, "b": 2})
    tree(tmp_path / "b", **{"deep__er__est": 3, ".thumbnails": 2})
    fill(tmp_path / ".ipynb_checkpoints", 1)
    fill(tmp_path / "__MACOSX" / "b", 1)
    (tmp_path / "b" / "._0.png").write_bytes(b"junk")
    (tmp_path / "b" / "notes.txt").write_text("junk")
    (tmp_path / "b" / "UPPER.JPG").write_bytes((tmp_path / "b" / "100.png").read_bytes())
    data = open_data(tmp_path, cut=False)
    assert data.classes == ("b", "süß und sauer")
    assert data.splits["all"].labels == [0] * 6 + [1] * 2
    verify(data.splits["all"])


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path / "data", a=2)
    tree(tmp_path / "else", b=3)
    (tmp_path / "data" / "b").symlink_to(tmp_path / "else" / "b")
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data" / "a")
    (tmp_path / "data" / "a" / "self").symlink_to("self")
    (tmp_path / "data" / "a" / "gone.png").symlink_to("nowhere.png")
    data = open_data(tmp_path / "data", cut=False)
    assert data.splits["all"].labels == [0, 0, 1, 1, 1]


def test_images_beside_the_class_folders_are_told(tmp_path: Path) -> None:
    tree(tmp_path, train__a=12, train__b=12, extra=1)
    fill(tmp_path / "train", 2)
    notes = " ".join(open_data(tmp_path).notes)
    assert "passed over, being no split: extra" in notes
    assert "passed over 2 images outside class folders" in notes


def test_the_fingerprint_is_the_same_however_the_place_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path / "a", x=3, y=4)
    write_table(
        tmp_path / "set.csv", ["image,label", *(f"images/{i}.png,{i % 2}" for i in range(9))]
    )
    shutil.copytree(tmp_path, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    places = ("a", "a/", "./a", str(tmp_path / "moved" / "a"), f"{tmp_path}/a/")
    assert len({open_data(place).fingerprint for place in places}) == 1
    assert len({open_data(f"{place}?per_class=2").fingerprint for place in places}) == 1
    tables = ("set.csv", "./set.csv", str(tmp_path / "moved" / "set.csv"))
    assert len({open_data(place).fingerprint for place in tables}) == 1


def test_an_address_may_be_longer_than_the_name_of_a_file(tmp_path: Path) -> None:
    names = {f"class_with_a_long_name_{i:02}": 2 for i in range(20)}
    tree(tmp_path / "set", **names)
    address = f"{tmp_path}/set?classes={','.join(names)}"
    assert len(address) > 255
    assert len(open_data(address, cut=False).classes) == 20
    assert count_data(address) == {"all": dict.fromkeys(names, 2)}
    assert not holds_plain_images(Path(address))
    with pytest.raises(Refused, match="there is no such path"):
        open_data("x" * 300)
    with pytest.raises(Refused, match="there is no such path"):
        open_images(["x" * 300])


def test_the_fingerprint_follows_contents_and_not_the_place(tmp_path: Path) -> None:
    tree(tmp_path / "a", x=3, y=4)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one = open_data(tmp_path / "a").fingerprint
    assert open_data(str(tmp_path / "b")).fingerprint == one
    (tmp_path / "b" / "x" / "0.png").rename(tmp_path / "b" / "x" / "z.png")
    renamed = open_data(tmp_path / "b").fingerprint
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "w")
    assert len({one, renamed, open_data(tmp_path / "b").fingerprint}) == 3


def no_path(root: Path) -> Path:
    tree(root / "photos", a=1)
    return root / "photo"


def no_parent(root: Path) -> Path:
    tree(root / "photos", a=1)
    return root / "phtos" / "train"


def no_images(root: Path) -> Path:
    (root / "a").mkdir()
    (root / "a" / "readme.txt").touch()
    return root


def empty_class(root: Path) -> Path:
    (tree(root, train__cat=2) / "train" / "dog").mkdir()
    return root


def unknown_class(root: Path) -> Path:
    return tree(root, train__cat=2, train__dog=2, test__dogs=2)


def no_labels(root: Path) -> Path:
    fill(root, 3)
    return root


def videos(root: Path) -> Path:
    (root / "run").mkdir()
    (root / "run" / "1.mp4").touch()
    return root


def coco(root: Path) -> Path:
    (root / "train.json").touch()
    return tree(root, images=2)


def masks(root: Path) -> Path:
    return tree(root, images__train=2, masks__train=2)


def twice(root: Path) -> Path:
    return tree(root, train__a=2, val__a=1, valid__a=1)


def one_file(root: Path) -> Path:
    fill(root, 1)
    return root / "0.png"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_path, r"photo: there is no such path; did you mean 'photos'\?"),
        (no_parent, r"train: there is no such path \(nor is .*phtos\); did you mean 'photos'\?"),
        (no_images, "holds no images"),
        (empty_class, "train: class folder 'dog' holds no images; fill or remove it"),
        (unknown_class, "test: class 'dogs' is none of the training split's; did you mean 'dog'"),
        (no_labels, "holds 3 images without labels"),
        (videos, "holds videos; video classification is not built yet"),
        (coco, "COCO annotations.*; detection is not built yet"),
        (masks, "images with masks; segmentation is not built yet"),
        (twice, "val and valid mean the same split"),
        (one_file, "is no data set; a folder is, or a table"),
    ],
)
def test_bad_folders_are_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(Refused, match=message) as caught:
        open_data(path)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot cut off a test part, for there is but one image"):
        open_data(tree(tmp_path, a=1))


def test_unknown_schemes_tasks_and_references_are_refused() -> None:
    with pytest.raises(Refused, match=r"hf:// is not built yet; there are: synthetic"):
        open_data("hf://org/set")
    with pytest.raises(Refused, match="did you mean 'synthetic'"):
        open_data("syntetic://classification")
    with pytest.raises(Refused, match="task 'detection' is not built yet"):
        open_data("synthetic://classification", task="detection")
    with pytest.raises(Refused, match="module 'nowhere' cannot be imported"):
        open_data("nowhere:Set")


# Tables


def test_a_table_gives_files_labels_and_splits(tmp_path: Path) -> None:
    rows = ["Image, label ,split", "images/0.png,10,train", '"images/1.png",9,Train']
    rows += ["images/2.png,9,validation", "images/3.png,10,test", ""]
    data = open_data(write_table(tmp_path / "set.csv", rows))
    assert data.classes == ("9", "10")
    assert {s: r.labels for s, r in data.splits.items()} == {
        "train": [1, 0],
        "val": [0],
        "test": [1],
    }
    assert data.splits["train"].load(1).x.shape == (3, 6, 8)
    tabs = [row.replace(",", "\t") for row in rows]
    assert open_data(write_table(tmp_path / "set.tsv", tabs)).classes == ("9", "10")


def test_several_labels_make_the_task_multilabel(tmp_path: Path) -> None:
    rows = ["image,label,split", "images/0.png,cat;dog,train", "images/1.png,,train"]
    rows += ["images/2.png,dog; dog,val"]
    data = open_data(write_table(tmp_path / "set.csv", rows))
    assert data.task == "multilabel"
    assert data.splits["train"].labels == [(0, 1), ()]
    assert data.splits["val"].labels == [(1,)]
    preprocess = Preprocess(image_size=4)
    batch = next(
        evaluation_batches(data.splits["train"], preprocess=preprocess, batch_size=2, workers=0)
    )
    assert batch.y.tolist() == [[1, 1], [0, 0]]
    with pytest.raises(Refused, match="that is task multilabel"):
        open_data(tmp_path / "set.csv", task="classification")


def test_single_labels_can_be_read_as_sets_of_one(tmp_path: Path) -> None:
    tree(tmp_path / "folder", train__a=2, val__a=1, train__b=2, val__b=1)
    data = open_data(tmp_path / "folder", task="multilabel")
    assert data.splits["val"].labels == [(0,), (1,)]
    assert data.splits["val"].num_classes == 2


def test_groups_are_never_parted(tmp_path: Path) -> None:
    rows = ["image,label,group", *(f"images/{i}.png,{i % 2},p{i // 4}" for i in range(80))]
    data = open_data(write_table(tmp_path / "set.csv", rows, images=80))
    groups = [set(records.groups) for records in data.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    assert sizes(data) == {"train": 64, "val": 8, "test": 8}
    assert "by group" in data.notes[0]


def test_a_group_in_two_given_splits_is_told(tmp_path: Path) -> None:
    rows = ["image,label,split,group", "images/0.png,a,train,p1", "images/1.png,a,val,p1"]
    data = open_data(write_table(tmp_path / "set.csv", rows))
    assert "warning: group 'p1' in both train and val" in data.notes[0]


def test_parquet_is_read_with_lists_of_labels(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    fill(tmp_path / "images", 3)
    table = pyarrow.table(
        {
            "image": [f"images/{i}.png" for i in range(3)],
            "label": [["a", "b"], [], ["b"]],
            "split": ["train", "train", "test"],
        }
    )
    parquet.write_table(table, tmp_path / "set.parquet")
    data = open_data(tmp_path / "set.parquet", cut=False)
    assert data.splits["train"].labels == [(0, 1), ()]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(Refused, match="cannot be read as a table"):
        open_data(tmp_path / "bad.parquet")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no rows"),
        (["image,label"], "holds no rows"),
        (["image,labels", "images/0.png,a"], "no column 'label'; did you mean 'labels'"),
        (["file,label", "images/0.png,a"], "no column 'image'; it has file, label"),
        (["image,label", "images/0.png,a", "images/1.png,"], "line 3 has no label"),
        (["image,label", "images/99.png,a"], r"line 2: 'images/99\.png' is not there"),
        (["image,label,split", "images/0.png,a,dev"], "line 2: split 'dev' is none of"),
        (["image,audio,label", "images/0.png,x.wav,a"], "column 'audio'; that task is not built"),
        (["image,label", '"images/0.png,a'], "cannot be read as a table"),
        (
            ["image,label,split", "images/0.png,a,train", "images/1.png,b,val"],
            "class 'b' has no row in the training split",
        ),
    ],
)
def test_bad_tables_are_refused_by_line(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(Refused, match=message) as caught:
        open_data(write_table(tmp_path / "set.csv", rows))
    assert "\n" not in str(caught.value)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_bytes(b"image,label\n\xff\xfe\x00,a")
    with pytest.raises(Refused, match="cannot be read as a table"):
        open_data(tmp_path / "set.csv")


# Objects


class Squares:
    """A set of grey squares, brighter for class 1."""

    classes = ("dark", "bright")

    def __init__(self, count: int = 40) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[np.ndarray, Any]:
        return np.full((5, 5), 40 + 150 * (i % 2) + i % 7, dtype=np.uint8), np.int64(i % 2)


def by_split(split: str) -> Squares | None:
    return {"train": Squares(30), "test": Squares(6)}.get(split)


def test_a_function_of_the_split_gives_a_data_set() -> None:
    data = open_data(by_split)
    assert sizes(data) == {"train": 26, "val": 4, "test": 6}
    assert data.classes == ("dark", "bright")
    assert data.splits["test"].load(1).x.unique().tolist() == [191]
    assert data.splits["test"].load(1).y == 1
    assert data.splits["train"].load(0).x.shape == (3, 5, 5)


def test_one_set_is_split_by_position() -> None:
    data = open_data(Squares())
    assert sizes(data) == {"train": 32, "val": 4, "test": 4}
    assert "by position" in data.notes[0]
    assert sizes(open_data(Squares)) == sizes(data)


def test_a_data_set_by_name_equals_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_set.py").write_text(
        "import numpy\n"
        "class Many:\n"
        "    def __len__(self): return 20\n"
        "    def __getitem__(self, i): return numpy.zeros((4, 4, 3), 'uint8'), (i % 3, 2)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    data = open_data("own_set:Many")
    import own_set

    assert data.task == "multilabel"
    assert data.classes == ("0", "1", "2")
    again = open_data(own_set.Many)
    assert (again.address, again.fingerprint) == ("own_set:Many", data.fingerprint)


def test_sets_that_draw_at_random_are_never_kept() -> None:
    class Flicker(Squares):
        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            return torch.randint(0, 256, (3, 4, 4), dtype=torch.uint8), i % 2

    records = open_data(Flicker()).splits["train"]
    assert not torch.equal(records.load(0).x, records.load(0).x)


class Wrong(Squares):
    def __getitem__(self, i: int) -> tuple[np.ndarray, Any]:
        return np.zeros((4, 4), dtype=np.uint8), "dark"


class Beyond(Squares):
    def __getitem__(self, i: int) -> tuple[np.ndarray, Any]:
        return np.zeros((4, 4), dtype=np.uint8), i


def broken(split: str) -> Squares:
    raise KeyError(split)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Wrong(), "label 'dark' is no class id"),
        (Beyond(), "has label 39, but `classes` names only 2"),
        (broken, "opening it raised KeyError: 'train'"),
        (lambda split: None, "gave no set for any of the splits"),
        (lambda split: 3, "gave int for 'train'"),
        (7, "is of type int and no data set"),
    ],
)
def test_bad_objects_are_refused(given: Any, message: str) -> None:
    with pytest.raises(Refused, match=message):
        open_data(given)


def test_an_image_of_an_object_that_cannot_be_decoded_is_named() -> None:
    class Bytes(Squares):
        def __getitem__(self, i: int) -> tuple[bytes, int]:
            return b"junk", i % 2

    records = open_data(Bytes()).splits["test"]
    with pytest.raises(Refused, match=r"Bytes.*\[all\]\[\d+\]: is not an image"):
        records.load(0)


# torchvision


def test_torchvision_sets_open_by_name() -> None:
    data = open_data("torchvision://FakeData?size=40&image_size=[3, 9, 9]&num_classes=3")
    assert sum(sizes(data).values()) == 40
    assert data.splits["train"].load(0).x.shape == (3, 9, 9)
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("torchvision://MNITS?root=x", "no data set 'MNITS'; did you mean 'MNIST'"),
        ("torchvision://MNIST", r"names no folder; torchvision://MNIST\?root=FOLDER"),
        ("torchvision://MNIST?root=nowhere", "cannot be opened: .*download=1"),
        ("torchvision://MNIST?root=x&donwload=1", "no option 'donwload'; did you mean 'download'"),
    ],
)
def test_bad_torchvision_addresses_are_refused(address: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        open_data(address)


# Generated sets, prediction, verification


@pytest.mark.parametrize("channels", [1, 3])
def test_generated_images_have_the_channels_that_are_asked_for(channels: int) -> None:
    data = open_data("synthetic://classification?train=5&val=5&test=0", channels=channels)
    assert data.splits["train"].load(0).x.shape[0] == channels


def test_generated_sets_are_told_apart_by_all_of_their_options() -> None:
    address = "synthetic://classification?train=5&val=5&test=0"
    one = open_data(address)
    assert one.fingerprint == open_data(address).fingerprint
    assert one.fingerprint != open_data(f"{address}&seed=1").fingerprint
    assert open_data(address, task="multilabel").splits["val"].labels[:2] == [(0,), (1,)]


def test_small_images_are_decoded_once_and_cannot_be_spoilt(tmp_path: Path) -> None:
    records = open_data(tree(tmp_path, a=3, b=3), cut=False).splits["all"]
    first = records.load(0).x
    expected = first.clone()
    first.zero_()
    Path(records.files[0]).unlink()
    again = records.load(0).x
    assert torch.equal(again, expected)
    again.zero_()
    assert torch.equal(records.load(0).x, expected)


def test_images_for_prediction_come_from_files_and_folders_at_any_depth(tmp_path: Path) -> None:
    paths = write_good(tmp_path / "zoo")
    tree(tmp_path, deep__er=2)
    records = open_images([tmp_path / "zoo", paths[0], str(tmp_path / "deep")])
    assert len(records) == len(paths) + 3
    assert records.labels == ()
    for i in range(len(records)):
        assert records.load(i).x.shape[0] == 3
        assert records.load(i).y is None
    assert open_images(paths[0], channels=1).load(0).x.shape[0] == 1


def test_prediction_refuses_what_holds_no_images(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="holds no images"):
        open_images(tmp_path)
    fill(tmp_path, 1)
    with pytest.raises(Refused, match=r"there is no such path; did you mean '0\.png'"):
        open_images([tmp_path / "1.png"])


def test_each_bad_file_is_found_before_training(tmp_path: Path) -> None:
    tree(tmp_path / "good", a=20, b=20)
    verify(open_data(tmp_path / "good").splits["train"])
    for bad in write_bad(tmp_path / "bad"):
        root = tmp_path / f"with {bad.name}"
        shutil.copytree(tmp_path / "good", root)
        shutil.copy(bad, root / "a" / bad.name)
        records = open_data(root, cut=False).splits["all"]
        with pytest.raises(Refused, match=bad.name):
            verify(records, decoding=0.0)


def test_several_bad_files_are_counted_and_one_is_named(tmp_path: Path) -> None:
    tree(tmp_path, a=3)
    for i in range(3):
        (tmp_path / "a" / f"bad {i}.jpg").touch()
    records = open_data(tmp_path, cut=False).splits["all"]
    with pytest.raises(Refused, match=r"bad 0\.jpg: the file is empty.*\(and 2 more such files"):
        verify(records)


def test_whole_files_with_something_after_their_end_are_fine(tmp_path: Path) -> None:
    tree(tmp_path, a=2)
    path = tmp_path / "a" / "moving.jpg"
    Image.fromarray(photo()).save(path)
    path.write_bytes(path.read_bytes() + bytes(5000))
    verify(open_data(tmp_path, cut=False).splits["all"])


def test_large_sets_are_looked_at_as_long_as_there_is_time(tmp_path: Path) -> None:
    tree(tmp_path, a=5)
    (tmp_path / "a" / "bad.jpg").touch()
    verify(open_data(tmp_path, cut=False).splits["all"], headers=0.0, decoding=0.0)


def test_opening_a_large_folder_is_quick(tmp_path: Path) -> None:
    """Nothing is decoded: these are no images at all."""
    for name in ("train/a", "train/b", "val/a"):
        (tmp_path / name).mkdir(parents=True)
        for i in range(1000):
            os.close(os.open(tmp_path / name / f"{i}.jpg", os.O_CREAT))
    assert sizes(open_data(tmp_path)) == {"train": 2000, "val": 1000}


# Real data


@pytest.mark.data
def test_cifar_photos_open_and_decode(shared_data: Path) -> None:
    data = open_data(shared_data / "cifar10-small")
    assert sizes(data) == {"train": 1800, "val": 200, "test": 500}
    assert [data.splits["val"].labels.count(c) for c in range(10)] == [20] * 10
    for records in data.splits.values():
        verify(records)


@pytest.mark.data
def test_mnist_opens_by_name(shared_data: Path, tmp_path: Path) -> None:
    import gzip

    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (shared_data / "MNIST" / "raw").iterdir():
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    data = open_data(f"torchvision://MNIST?root={tmp_path}")
    assert sizes(data) == {"train": 54001, "val": 5999, "test": 10000}
    assert len(data.classes) == 10
    assert data.splits["test"].load(0).x.shape == (3, 28, 28)
    assert data.splits["test"].load(0).y == 7
    assert open_data(f"torchvision://MNIST?root={tmp_path}", channels=1).fingerprint


@pytest.mark.data
def test_digits_with_sound_open_as_images_when_told_so(shared_data: Path) -> None:
    table = shared_data / "av-digits" / "manifest.csv"
    data = open_data(table, task="classification")
    assert sizes(data) == {"train": 2430, "val": 270, "test": 300}


@pytest.mark.data
def test_detection_and_masks_are_told_apart(shared_data: Path) -> None:
    with pytest.raises(Refused, match="detection is not built yet"):
        open_data(shared_data / "penn-fudan")
    with pytest.raises(Refused, match="segmentation is not built yet"):
        open_data(shared_data / "camvid")
