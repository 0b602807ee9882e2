"""Names of public classes: their number, their order, their look-up."""

from pathlib import Path

import pytest

from ninefold.core.errors import Refused
from ninefold.core.labels import labels, labels_for, row_map, spoken


@pytest.mark.parametrize(
    ("name", "size", "known"),
    [
        ("imagenet-1k", 1000, {0: "tench", 207: "golden retriever", 850: "teddy"}),
        ("imagenet-21k", 21843, {0: "organism, being", 21842: "knothole"}),
        ("imagenet-22k", 21841, {0: "organism, being", 15027: "knothole"}),
        ("coco", 80, {0: "person", 11: "stop sign", 79: "toothbrush"}),
        ("ade20k", 150, {0: "wall", 12: "person", 149: "flag"}),
        ("kinetics-400", 400, {0: "abseiling", 399: "zumba"}),
        ("audioset", 527, {0: "Speech", 137: "Music", 526: "Field recording"}),
    ],
)
def test_every_set_has_its_classes_in_the_published_order(
    name: str, size: int, known: dict[int, str]
) -> None:
    names = labels(name)
    assert len(names) == size
    assert all(names[i] == expected for i, expected in known.items())
    assert all(n and n == n.strip() for n in names)
    assert labels_for(size) == names


def test_names_are_distinct_where_one_name_means_one_class() -> None:
    for name in ("imagenet-1k", "coco", "ade20k", "kinetics-400", "audioset"):
        assert len(set(labels(name))) == len(labels(name)), name


def test_the_last_two_of_22k_stand_in_the_rows_of_the_two_synsets_without_images() -> None:
    whole, head = labels("imagenet-21k"), labels("imagenet-22k")
    assert whole[9205].startswith("picture, image")
    assert whole[15027] == "bleacher"
    assert (head[9205], head[15027]) == whole[21841:]
    assert all(head[i] == whole[i] for i in range(21841) if i not in (9205, 15027))


def test_the_authors_map_from_22k_to_1k_finds_the_same_synsets() -> None:
    """999 of them; the last, the teddy, is no class of ImageNet-22K."""
    from timm.data import ImageNetInfo

    names, small = labels("imagenet-22k"), ImageNetInfo("imagenet-1k")
    lemmas = [small.index_to_description(i, detailed=False) for i in range(1000)]
    rows = row_map("imagenet-22k-to-1k")
    differ = [i for i in range(1000) if names[rows[i]] != lemmas[i]]
    assert differ == [850]
    assert labels("imagenet-1k")[850] == "teddy"


def test_synsets_of_1k_are_spoken_by_name_where_all_are_such() -> None:
    from timm.data import ImageNetInfo

    synsets = ImageNetInfo("imagenet-1k").label_names()
    assert spoken(synsets) == labels("imagenet-1k")
    assert spoken(("n02099601", "n01440764")) == ("golden retriever", "tench")
    assert spoken(("n02099601", "cat")) == ("n02099601", "cat")


@pytest.mark.data
def test_the_1000_photos_carry_the_names_in_sorted_order_of_their_synsets(
    shared_data: Path,
) -> None:
    photos = sorted(path.stem for path in (shared_data / "imagenet-1000").glob("*.jpg"))
    spoken = [p.partition("_")[2].replace("_", " ").lower() for p in photos]
    pairs = zip(spoken, labels("imagenet-1k"), strict=True)
    same = sum(a in b.lower() or b.lower() in a for a, b in pairs)
    assert same > 800


def test_an_unknown_set_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Refused, match="did you mean 'imagenet-1k'"):
        labels("imagenet_1k")
    assert labels_for(999) is None
