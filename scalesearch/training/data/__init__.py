"""Images to learn from: found, decoded once, divided by content, and mapped from a cache on disk.

`load` finds and decodes; `open_cached(data.folder)` opens the same data in another process.
"""

from collections.abc import Callable
from pathlib import Path

from scalesearch.training.data.cache import building, cache_folder, cache_key, write
from scalesearch.training.data.dataset import CacheError, DataSet, Split, open_cached
from scalesearch.training.data.decode import stored_side
from scalesearch.training.data.pool import Source, check_classes, check_skipped
from scalesearch.training.data.sources import find_source
from scalesearch.training.data.split import check_taught, content_hashes, divide

__all__ = ["CacheError", "DataSet", "Split", "load", "open_cached"]

Progress = Callable[[str, float], None]


def load(
    source: str | Path | None,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    max_corrupt: float = 0.05,
    side: int | None = None,
) -> DataSet:
    """Load a data set, decoding it if this has not been done before.

    `source` is "cifar10", "digits", a folder (of class folders, of Parquet files in the Hugging Face
    layout, or with the official cifar-10-batches-py), or None: CIFAR-10 where it can be had, else
    digits, with `demonstration` True. `cache` is the folder for decoded data (default: the user's
    cache folder). `progress` is told what is done and how much of it. At most the share `max_corrupt`
    of the images may be undecodable; they are named in `skipped`. Images of other than one small square
    size are cropped to squares of at most 64 px, which take 12 kB each in the cache (and twice that while
    it is built).

    With `side`, the input of a network in pixels, they are cropped to squares of at most 8/7 of it: for
    224 px that is 256 px and 197 kB an image. Smaller ones stay as they are, and so does CIFAR-10. Which
    image belongs to which split is still decided by its 64 px, so that no image that a search learnt from
    becomes one to test on. Raises InputError, also where the cache's file system lacks the space.
    """
    if side is not None and side < 1:
        raise ValueError(f"side must be at least 1 px, but got {side}")
    report = progress or (lambda _doing, _share: None)
    root = cache or cache_folder()
    found = find_source(source, root, report, stored_side(side))
    folder = (root / cache_key(found.identity())).absolute()
    try:
        data = open_cached(folder)
    except CacheError:
        _build(found, folder, report, max_corrupt)
        data = open_cached(folder)
    splits = (data.train, data.select, data.report, data.test or ())
    total = sum(len(split) for split in splits) + len(data.skipped)
    check_skipped(found.where, data.skipped, total, max_corrupt)
    return data


def _build(source: Source, folder: Path, progress: Progress, max_corrupt: float) -> None:
    with building(folder, _usable) as scratch:
        pool = source.read(scratch, progress)
        check_classes(source.where, pool.classes)
        check_skipped(
            source.where, tuple(map(str, pool.skipped)), len(pool.labels) + len(pool.skipped), max_corrupt
        )
        hashes = content_hashes(pool.images)
        splits = divide(hashes if pool.keys is None else pool.keys, pool.labels, pool.parts)
        check_taught(source.where, pool.classes, pool.labels[splits["train"]])
        write(scratch, pool, splits, hashes, source.demonstration)
        (scratch / "pool.npy").unlink(missing_ok=True)


def _usable(folder: Path) -> bool:
    try:
        open_cached(folder)
    except CacheError:
        return False
    return True
