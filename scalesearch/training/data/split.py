"""Who learns from which image: a split decided by what the images show, not by where their files lie."""

import hashlib

import numpy as np

from scalesearch.errors import InputError

ONE_IN = 10  # the share of the training images that validation, and test, are made of
HASH = "S32"


def content_hash(image: np.ndarray) -> bytes:
    """Take the first 128 bits of a decoded image's SHA-256, as hexadecimal text."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()[:32].encode()


def content_hashes(images: np.ndarray) -> np.ndarray:
    """Take the `content_hash` of each decoded image (bytes [n])."""
    return np.array([content_hash(image) for image in np.ascontiguousarray(images)], dtype=HASH)


def divide(hashes: np.ndarray, labels: np.ndarray, parts: np.ndarray) -> dict[str, np.ndarray]:
    """Give the indices of `train`, `select`, `report` and any `test`, each in the order of content.

    Given parts are honoured. Data with neither a given validation nor a given test part is divided
    80/10/10; data with a given test part alone gives 10 % of its training images to validation.
    Validation is halved into `select` and `report`. Raises InputError where a split stays empty.
    """
    order = np.lexsort((labels, hashes))
    members = {part: order[parts[order] == part] for part in ("train", "val", "test")}
    train, val, test = members["train"], members["val"], members["test"]
    tenth = _tenth(len(train))
    if len(val) == 0:
        if len(test) == 0:
            train, test = _divide_again(train, hashes, labels, tenth)
        train, val = _divide_again(train, hashes, labels, tenth)
    report, select = _divide_again(val, hashes, labels, len(val) // 2)
    splits = {"train": train, "select": select, "report": report}
    _check_filled(splits, len(labels))
    return splits | ({"test": test} if len(test) else {})


def hold_out(hashes: np.ndarray, labels: np.ndarray, total: int) -> np.ndarray:
    """Which images (bool [n]) go to a held-out split of `total` images, in the proportions of the classes.

    Images are taken in the order of their hashes. Equal images go together, whatever their labels: they
    are taken only if all of them fit, so a class never exceeds its quota, and meets it exactly where
    the sizes of its groups of equal images permit.
    """
    quota = apportion(np.bincount(labels), total)
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(hashes[order][1:] != hashes[order][:-1]) + 1
    held = np.zeros(len(labels), dtype=bool)
    for group in np.split(order, starts):
        need = np.bincount(labels[group], minlength=len(quota))
        if (need <= quota).all():
            quota -= need
            held[group] = True
    return held


def apportion(counts: np.ndarray, total: int) -> np.ndarray:
    """Divide `total` places over classes in proportion to `counts`, exactly (largest remainder)."""
    everything = max(int(counts.sum()), 1)
    seats, remainder = np.divmod(counts.astype(np.int64) * total, everything)
    most = np.argsort(-remainder, kind="stable")[: total - seats.sum()]
    seats[most] += 1
    return seats


def check_taught(where: str, classes: tuple[str, ...], train_labels: np.ndarray) -> None:
    """Raise InputError where a class has no image to learn from."""
    missing = np.flatnonzero(np.bincount(train_labels, minlength=len(classes)) == 0)
    if len(missing):
        raise InputError(f"{where}: class {classes[missing[0]]!r} has no image left in the training part")


def _tenth(count: int) -> int:
    return (count + ONE_IN // 2) // ONE_IN


def _divide_again(
    members: np.ndarray, hashes: np.ndarray, labels: np.ndarray, total: int
) -> tuple[np.ndarray, np.ndarray]:
    if len(members) == 0:
        return members, members
    held = hold_out(hashes[members], labels[members], total)
    return members[~held], members[held]


def _check_filled(splits: dict[str, np.ndarray], total: int) -> None:
    for name, members in splits.items():
        if len(members) == 0:
            raise InputError(
                f"{total} images leave none for the {name} split: at least 15 different training images "
                "are needed, or 2 different ones in a validation part of their own"
            )
