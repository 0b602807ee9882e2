"""What `check_data` finds in data sets that were spoilt on purpose, and that it changes nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from zoo import write_bad, write_good

from ninefold.core.errors import Refused
from ninefold.data.check import check_data, count_data
from ninefold.data.probe import Finding
from ninefold.data.synthetic import open_synthetic, write_folder

Kinds = set[tuple[str, str]]


def kinds(findings: list[Finding]) -> Kinds:
    return {(f.kind, f.level) for f in findings}


def only(findings: list[Finding], kind: str) -> list[Finding]:
    return [f for f in findings if f.kind == kind]


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "clean"
    address = "synthetic://classification?size=48&train=48&val=24&test=24"
    write_folder(open_synthetic(address), folder)
    return folder


@pytest.fixture
def shapes(clean: Path, tmp_path: Path) -> Path:
    """A copy of its own of a set without faults."""
    return Path(shutil.copytree(clean, tmp_path / "shapes"))


def photo(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A picture with much detail of every scale, as photos have."""
    values = np.random.default_rng(seed)
    image = np.zeros((size[1], size[0], 3))
    for cells in (3, 6, 12, 24):
        coarse = Image.fromarray(values.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        image += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) / 4
    return Image.fromarray(image.astype(np.uint8))


def test_a_sound_folder_has_no_findings(clean: Path) -> None:
    assert check_data(str(clean)) == []


def test_a_generated_set_has_no_findings() -> None:
    """A thousand like pictures: no two of them are taken for duplicates."""
    assert check_data("synthetic://classification?size=32&train=500&val=50&test=50") == []


def test_counts_stand_by_split_and_class_and_name_empty_classes(shapes: Path) -> None:
    (shapes / "val" / "spiral").mkdir()
    counts = count_data(str(shapes))
    assert list(counts) == ["train", "val", "test"]
    assert counts["val"]["spiral"] == 0
    assert counts["train"] == dict.fromkeys(sorted(counts["train"]), 4)


def spoil_empty(folder: Path) -> None:
    (folder / "train" / "disc" / "00003.png").write_bytes(b"")


def spoil_text(folder: Path) -> None:
    (folder / "train" / "disc" / "00003.png").write_text("not an image")


def spoil_truncated(folder: Path) -> None:
    path = folder / "train" / "disc" / "00003.png"
    path.write_bytes(path.read_bytes()[:-400])


def spoil_truncated_jpeg(folder: Path) -> None:
    path = folder / "train" / "disc" / "photo.jpg"
    photo(1).save(path)
    path.write_bytes(path.read_bytes()[:-900])


def spoil_extension(folder: Path) -> None:
    path = folder / "train" / "disc" / "00003.png"
    path.rename(path.with_suffix(".jpg"))


def spoil_tiny(folder: Path) -> None:
    Image.new("RGB", (30, 5)).save(folder / "train" / "disc" / "tiny.png")


def spoil_aspect(folder: Path) -> None:
    photo(2, (400, 20)).save(folder / "train" / "disc" / "long.png")


def spoil_pixels(folder: Path) -> None:
    Image.new("1", (12_000, 12_000)).save(folder / "train" / "disc" / "large.png")


def spoil_bomb(folder: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(folder / "train" / "disc" / "bomb.png")


def spoil_rotation(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(3).save(folder / "train" / "disc" / "turned.jpg", exif=exif)


def spoil_empty_class(folder: Path) -> None:
    (folder / "train" / "spiral").mkdir()


def spoil_single(folder: Path) -> None:
    (folder / "train" / "spiral").mkdir()
    photo(4).save(folder / "train" / "spiral" / "one.png")


def spoil_loose(folder: Path) -> None:
    photo(4).save(folder / "val" / "loose.png")


def spoil_unlearnt(folder: Path) -> None:
    shutil.rmtree(folder / "train" / "disc")


def spoil_missing_test(folder: Path) -> None:
    shutil.rmtree(folder / "test")


def spoil_missing_train(folder: Path) -> None:
    shutil.rmtree(folder / "train")


def spoil_case(folder: Path) -> None:
    (folder / "val" / "disc").rename(folder / "val" / "Disc ")


def spoil_imbalance(folder: Path) -> None:
    for i in range(120):
        photo(10 + i, (16, 16)).save(folder / "train" / "disc" / f"more{i}.png")


def spoil_copy(folder: Path) -> None:
    shutil.copy(folder / "train" / "disc" / "00003.png", folder / "train" / "disc" / "again.png")


def spoil_copy_across(folder: Path) -> None:
    shutil.copy(folder / "train" / "disc" / "00003.png", folder / "test" / "disc" / "again.png")


def spoil_copy_label(folder: Path) -> None:
    shutil.copy(folder / "train" / "disc" / "00003.png", folder / "train" / "star" / "again.png")


def spoil_near(folder: Path) -> None:
    photo(5).save(folder / "train" / "disc" / "a.png")
    photo(5).save(folder / "train" / "disc" / "b.jpg", quality=60)


def spoil_near_across(folder: Path) -> None:
    photo(5).save(folder / "train" / "disc" / "a.png")
    photo(5).resize((60, 45)).save(folder / "test" / "disc" / "b.jpg")


def spoil_near_label(folder: Path) -> None:
    photo(5).save(folder / "train" / "disc" / "a.png")
    photo(5).filter(ImageFilter.GaussianBlur(1)).save(folder / "train" / "star" / "b.jpg")


SPOILT: list[tuple[Callable[[Path], None], Kinds, str]] = [
    (spoil_empty, {("empty-file", "error")}, "train/disc/00003.png"),
    (spoil_text, {("unreadable", "error")}, "train/disc/00003.png"),
    (spoil_truncated, {("truncated", "error")}, "train/disc/00003.png"),
    (spoil_truncated_jpeg, {("truncated", "error")}, "train/disc/photo.jpg"),
    (spoil_extension, {("extension", "warning")}, "train/disc/00003.jpg"),
    (spoil_tiny, {("tiny", "warning")}, "train/disc/tiny.png"),
    (spoil_aspect, {("aspect", "warning")}, "train/disc/long.png"),
    (spoil_pixels, {("pixel-limit", "error")}, "train/disc/large.png"),
    (spoil_bomb, {("pixel-limit", "error")}, "train/disc/bomb.png"),
    (spoil_rotation, {("rotated", "note")}, "train/disc/turned.jpg"),
    (spoil_empty_class, {("empty-class", "error")}, "train/spiral"),
    (spoil_single, {("single-image", "warning")}, "train/spiral"),
    (spoil_loose, {("without-class", "error")}, "val/loose.png"),
    (spoil_unlearnt, {("class-not-in-train", "error")}, "test/disc"),
    (spoil_missing_test, {("missing-split", "warning")}, ""),
    (spoil_missing_train, {("missing-split", "error")}, ""),
    (spoil_case, {("class-names", "warning"), ("class-not-in-train", "error")}, "val/Disc "),
    (spoil_imbalance, {("imbalance", "warning")}, ""),
    (spoil_copy, {("duplicate", "warning")}, "train/disc/00003.png"),
    (spoil_copy_across, {("duplicate-across-splits", "error")}, "train/disc/00003.png"),
    (spoil_copy_label, {("duplicate-other-label", "error")}, "train/disc/00003.png"),
    (spoil_near, {("near-duplicate", "note")}, "train/disc/a.png"),
    (spoil_near_across, {("near-duplicate-across-splits", "warning")}, "train/disc/a.png"),
    (spoil_near_label, {("near-duplicate-other-label", "warning")}, "train/disc/a.png"),
]


@pytest.mark.parametrize(
    ("spoil", "expected", "file"), SPOILT, ids=[s[0].__name__[6:] for s in SPOILT]
)
def test_each_fault_is_found_by_its_file_and_nothing_else_is(
    shapes: Path, spoil: Callable[[Path], None], expected: Kinds, file: str
) -> None:
    spoil(shapes)
    findings = check_data(str(shapes), pixel_limit=100_000_000)
    assert kinds(findings) == expected
    assert str(shapes / file) in {f.file for f in findings}


def test_findings_name_every_file_of_a_group_and_what_it_is_labelled(shapes: Path) -> None:
    spoil_copy_label(shapes)
    (finding,) = check_data(str(shapes))
    assert str(shapes / "train" / "star" / "again.png") in finding.message
    assert "train disc" in finding.message
    assert "train star" in finding.message


def test_flat_images_are_no_near_duplicates(tmp_path: Path) -> None:
    for label, level in (("a", 10), ("b", 12)):
        (tmp_path / "flat" / label).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (40, 40 + i), level).save(tmp_path / "flat" / label / f"{i}.png")
    assert check_data(str(tmp_path / "flat")) == []


def test_a_single_class_is_told_as_nothing_can_be_learnt_of_it(shapes: Path) -> None:
    for folder in [f for f in shapes.glob("*/*") if f.name != "disc"]:
        shutil.rmtree(folder)
    (told,) = [f for f in check_data(shapes) if f.kind == "one-class"]
    assert told.level == "error"
    assert told.message.startswith("class 'disc' is the only one")


def test_findings_are_the_same_whatever_the_number_of_threads(shapes: Path) -> None:
    for spoil in (spoil_empty, spoil_tiny, spoil_copy_across, spoil_near, spoil_single):
        spoil(shapes)
    first = check_data(str(shapes), threads=1)
    assert first == check_data(str(shapes), threads=6)
    levels = [f.level for f in first]
    assert levels == sorted(levels, key=("error", "warning", "note").index)


def test_nothing_is_changed(shapes: Path) -> None:
    for spoil in (spoil_empty, spoil_truncated_jpeg, spoil_extension, spoil_rotation):
        spoil(shapes)

    def state() -> dict[str, tuple[int, bytes]]:
        files = [p for p in shapes.rglob("*") if p.is_file()]
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}

    before = state()
    check_data(str(shapes))
    assert state() == before


def test_progress_counts_every_image(clean: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_data(str(clean), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 96) for i in range(96)]


def test_hidden_files_and_loops_of_links_are_passed_over(shapes: Path) -> None:
    (shapes / "train" / "disc" / ".hidden.png").write_bytes(b"x")
    (shapes / "train" / ".cache").mkdir()
    (shapes / "train" / "disc" / "loop").symlink_to(shapes / "train" / "disc")
    assert check_data(str(shapes)) == []


def test_odd_names_are_no_trouble(shapes: Path) -> None:
    photo(6).save(shapes / "train" / "disc" / "ein Bild mit \u00e4\u4e2d, 100 %.png")
    assert check_data(str(shapes)) == []


def test_every_odd_kind_of_file_that_can_be_decoded_is_sound(tmp_path: Path) -> None:
    files = write_good(tmp_path / "zoo" / "odd")
    levels = np.random.default_rng(0).integers(0, 256, (5, 40, 30), dtype=np.uint8)
    np.save(tmp_path / "zoo" / "odd" / "five.npy", levels)
    findings = [f for f in check_data(str(tmp_path / "zoo")) if f.kind != "one-class"]
    assert {f.level for f in findings} <= {"note", "warning"}
    assert {f.kind for f in findings} <= {"near-duplicate", "duplicate", "extension", "rotated"}
    assert count_data(str(tmp_path / "zoo")) == {"all": {"odd": len(files) + 1}}


def test_bad_files_of_every_kind_are_told(tmp_path: Path) -> None:
    files = write_bad(tmp_path / "zoo" / "odd")
    (tmp_path / "zoo" / "even").mkdir()
    Image.new("L", (40, 40)).save(tmp_path / "zoo" / "even" / "good.png")
    errors = {f.file for f in check_data(str(tmp_path / "zoo")) if f.level == "error"}
    assert errors == {str(file) for file in files}


def test_class_names_that_differ_in_unicode_form_are_told(tmp_path: Path) -> None:
    for i, name in enumerate(("caf\u00e9", "cafe\u0301")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for k in range(2):
            photo(10 * i + k).save(tmp_path / "set" / name / f"{k}.png")
    assert kinds(check_data(str(tmp_path / "set"))) == {("class-names", "warning")}


TABLE = """image,label,split,group
a.png,cat,train,x
b.png,dog,train,y
c.png,cat,test,x
gone.png,dog,test,z
d.png,,train,
e.png,dog,trian,
b.png,dog,train,y
"""


def test_a_table_is_checked_by_file_and_line(tmp_path: Path) -> None:
    for i, name in enumerate("abcde"):
        photo(20 + i).save(tmp_path / f"{name}.png")
    table = tmp_path / "table.csv"
    table.write_text(TABLE)
    findings = check_data(str(table))
    found = {f.kind: f.file for f in findings}
    assert found["missing-file"] == f"{table}:5"
    assert found["empty-label"] == f"{table}:6"
    assert found["unknown-split"] == f"{table}:7"
    assert "did you mean 'train'" in only(findings, "unknown-split")[0].message
    assert f"{table}:8" in only(findings, "duplicate")[0].message
    (group,) = only(findings, "group-in-two-splits")
    assert f"{table}:2" in group.message
    assert f"{table}:4" in group.message


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such path"):
        check_data(str(tmp_path / "nothing"))
    with pytest.raises(Refused, match="no images"):
        check_data(str(tmp_path))


def test_near_duplicates_are_found_among_many() -> None:
    """20,000 random hashes and thumbnails, with 50 pairs planted three bits apart."""
    from ninefold.data.duplicates import close_pairs

    values = np.random.default_rng(0)
    hashes = values.integers(0, 2**64, 20_000, dtype=np.uint64)
    thumbnails = values.integers(0, 256, (20_000, 16, 16), dtype=np.uint8)
    for i in range(50):
        bits = values.choice(64, 3, replace=False).astype(np.uint64)
        hashes[10_000 + i] = hashes[i] ^ np.bitwise_or.reduce(np.uint64(1) << bits)
        thumbnails[10_000 + i] = thumbnails[i]
    assert close_pairs(hashes, thumbnails) == [(i, 10_000 + i) for i in range(50)]


@pytest.mark.data
def test_real_photos_raise_no_false_alarm(shared_data: Path) -> None:
    assert check_data(str(shared_data / "cifar10-small")) == []
