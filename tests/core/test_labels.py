"""Names of public classes: their number, their order, their look-up."""

from pathlib import Path

import pytest

from ninefold.core.errors import Refused
from ninefold.core.labels import labels, labels_for


@pytest.mark.parametrize(
    ("name", "size", "known"),
    [
        ("imagenet-1k", 1000, {0: "tench", 207: "golden retriever", 850: "teddy"}),
        ("imagenet-21k", 21843, {0: "organism, being", 21842: "knothole"}),
        ("imagenet-22k", 21841, {0: "organism, being", 21840: "knothole"}),
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


def test_the_22k_head_lacks_the_two_synsets_without_images() -> None:
    whole, head = labels("imagenet-21k"), labels("imagenet-22k")
    assert whole[9205].startswith("picture, image")
    assert whole[15027] == "bleacher"
    assert head == whole[:9205] + whole[9206:15027] + whole[15028:]


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
