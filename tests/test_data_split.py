"""The split: exact, complete, decided by content."""

import hashlib
import math
import shutil
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from images import contents, splits_of, write_classes

from scalesearch.training.data import load
from scalesearch.training.data.split import apportion, divide, hold_out


def hashes_of(numbers):
    """Content hashes of images that are equal where the numbers are."""
    return np.array([hashlib.sha256(str(number).encode()).hexdigest()[:32].encode() for number in numbers])


images_with_copies = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=30, max_size=120
)  # (what it shows, label)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8).filter(any), st.data())
def test_places_go_to_the_largest_remainders(counts, data):
    total = data.draw(st.integers(0, sum(counts)))
    seats = apportion(np.array(counts), total)
    share = [Fraction(count * total, sum(counts)) for count in counts]
    assert seats.sum() == total
    assert all(
        math.floor(exact) <= seat <= math.ceil(exact) for exact, seat in zip(share, seats, strict=True)
    )
    more = [exact % 1 for exact, seat in zip(share, seats, strict=True) if seat > exact]
    less = [exact % 1 for exact, seat in zip(share, seats, strict=True) if seat < exact]
    assert min(more, default=1) >= max(less, default=0)


@given(images_with_copies, st.integers(0, 60), st.randoms())
def test_held_out_images_meet_their_quotas_as_far_as_copies_permit(images, total, random):
    total = min(total, len(images))
    numbers, labels = (np.array(column) for column in zip(*images, strict=True))
    hashes = hashes_of(numbers)
    held = hold_out(hashes, labels, total)
    quota = apportion(np.bincount(labels), total)
    left = quota - np.bincount(labels[held], minlength=len(quota))
    assert quota.sum() == total
    assert (left >= 0).all()
    for number in np.unique(numbers):
        assert len(np.unique(held[numbers == number])) == 1  # copies on one side
        if not held[numbers == number][0]:  # what stayed outside did not fit in
            assert (np.bincount(labels[numbers == number], minlength=len(quota)) > left).any()
    order = random.sample(range(len(images)), len(images))
    assert np.array_equal(hold_out(hashes[order], labels[order], total), held[order])


@settings(max_examples=50)
@given(
    st.lists(st.integers(15, 60), min_size=2, max_size=4),
    st.sampled_from(["none", "test", "val"]),
    st.randoms(),
)
def test_a_split_is_exact_complete_and_independent_of_the_order_of_files(counts, given_part, random):
    labels = np.repeat(np.arange(len(counts)), counts)
    hashes = hashes_of(range(len(labels)))
    parts = np.full(len(labels), "train", dtype="U5")
    if given_part != "none":
        parts[::4] = given_part
    splits = divide(hashes, labels, parts)
    train = int((parts == "train").sum())
    val = int((parts == "val").sum()) if given_part == "val" else (train + 5) // 10
    assert len(splits["select"]) == val // 2
    assert len(splits["report"]) == val - val // 2
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(labels)))
    order = np.array(random.sample(range(len(labels)), len(labels)))
    again = divide(hashes[order], labels[order], parts[order])
    assert all(np.array_equal(order[again[name]], members) for name, members in splits.items())


def test_a_group_of_copies_stays_together_through_loading(tmp_path):
    root = write_classes(tmp_path / "d", {"cat": 30, "dog": 30})
    for number in range(30):
        shutil.copy(root / "cat" / f"{number:03}.png", root / "cat" / f"copy{number}.png")
    data = load(root, cache=tmp_path / "cache")
    hashes = [contents(split) for split in splits_of(data)]
    assert len(set.union(*hashes)) == sum(map(len, hashes)) == 60
    assert sum(map(len, splits_of(data))) == 90
