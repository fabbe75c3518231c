"""Folders of images: class/image, or train|val|test/class/image."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scalesearch.errors import InputError
from scalesearch.training.data.decode import BATCH, LARGEST_SIDE, Encoded, decode_all, larger
from scalesearch.training.data.image import image_suffixes
from scalesearch.training.data.pool import PARTS, LeftOut, Pool, Progress, identify


@dataclass(frozen=True)
class ClassFolders:
    """Image files with their part and class; `classes` is sorted by name, as labels count it.

    `ignored` are the visible files and folders that are no images of a class; `largest` is the side in
    pixels that photos are brought to at most.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[str, int, Path], ...]
    ignored: tuple[LeftOut, ...] = ()
    largest: int = LARGEST_SIDE
    demonstration = False

    @property
    def where(self) -> str:
        """What errors name."""
        return str(self.root)

    def identity(self) -> list[object]:
        """See Source.identity."""
        return [
            "folders",
            self.classes,
            self.ignored,
            *larger(self.largest),
            *identify([file for _, _, file in self.files], self.root),
        ]

    def read(self, scratch: Path, progress: Progress) -> Pool:
        """See Source.read."""
        decoded = decode_all(self.where, self._batches, scratch, progress, self.largest)
        return Pool(
            name=f"{self.root.name} (class folders, {decoded.summary})",
            classes=self.classes,
            images=decoded.images,
            labels=decoded.labels,
            parts=decoded.parts,
            skipped=decoded.skipped,
            ignored=self.ignored,
            keys=decoded.keys,
        )

    def _batches(self) -> Iterator[list[Encoded]]:
        for start in range(0, len(self.files), BATCH):
            rows = self.files[start : start + BATCH]
            yield [Encoded(_shown(file, self.root), part, label, file) for part, label, file in rows]


def find_class_folders(root: Path, largest: int = LARGEST_SIDE) -> ClassFolders:
    """Find the images of a folder of class folders, or of train, val and test folders of such.

    Symbolic links are followed; names that begin with ".", and folders whose names begin with "__", are
    passed over; other files that are no images of a class are listed in `ignored`. Raises InputError
    where there are no images, a class folder holds no image itself or further images in a folder of its
    own, a class of another part is missing from the training part, or a folder cannot be read.
    """
    try:
        return _find(root, largest)
    except OSError as error:
        raise InputError(f"{error.filename}: this folder cannot be read ({error.strerror})") from error


def _find(root: Path, largest: int) -> ClassFolders:
    parts = _parts(root)
    by_part = {part: _classes_in(folder) for part, folder in parts.items()}
    if not by_part["train"]:
        raise InputError(
            f"{root} holds neither Parquet files (*train*.parquet), nor class folders with images, "
            f"nor train/val/test folders of class folders, nor cifar-10-batches-py{_deeper(root)}"
        )
    classes = tuple(sorted(by_part["train"]))
    labels = {name: label for label, name in enumerate(classes)}
    files = []
    for part, members in by_part.items():
        for name, images in members.items():
            if name not in labels:
                raise InputError(f"{parts[part] / name}: class {name!r} is not in {parts['train']}")
            files += [(part, labels[name], image) for image in images]
    return ClassFolders(root, classes, tuple(files), tuple(_ignored(root, parts, by_part)), largest)


def _parts(root: Path) -> dict[str, Path]:
    folders = _folders_in(root)
    named = [folder for folder in folders if folder.name.lower() in PARTS]
    given: dict[str, Path] = {}
    for folder in named:
        if _images_in(folder):
            continue  # a class that happens to be called "train"
        if (part := PARTS[folder.name.lower()]) in given:
            raise InputError(f"{folder} and {given[part]} are both {part} folders: keep one")
        given[part] = folder
    if not given:
        if folders and len(named) == len(folders):
            raise InputError(f"{named[0]} holds images directly: class folders are missing between the two")
        return {"train": root}
    if "train" not in given:
        raise InputError(f"{root} has a {next(iter(given))} folder but no train folder beside it")
    return given


def _classes_in(root: Path) -> dict[str, list[Path]]:
    classes = {folder.name: _images_in(folder) for folder in _folders_in(root)}
    empty = [name for name, images in classes.items() if not images]
    if empty and len(empty) < len(classes):
        raise InputError(
            f"{root / empty[0]}: a class folder must directly hold images, this one holds none"
            f"{_endings(root / empty[0])}"
        )
    taken = {name: images for name, images in classes.items() if images}
    for name in taken:
        _check_flat(root / name)
    return taken


def _check_flat(folder: Path) -> None:
    if not _names_usable(folder):
        raise InputError(f"{_shown(folder, folder.parent)!r}: the name of a class folder must be valid UTF-8")
    for inner in _folders_in(folder):
        if count := len(_images_in(inner)):
            raise InputError(
                f"{inner}: a class folder must hold its images directly, but {count} lie one folder deeper"
            )


def _names_usable(folder: Path) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in folder.name)


def _endings(folder: Path) -> str:
    """Tell what files there are instead of images: endings that are not read, as of HEIC photos."""
    counts = Counter(path.suffix.lower() for path in _visible(folder) if path.is_file())
    shown = ", ".join(f"{count} {suffix or 'without ending'}" for suffix, count in counts.most_common(3))
    return f" (but {shown})" if shown else ""


def _deeper(root: Path) -> str:
    """Point to the one folder below that has what is missing, as unpacked archives often do."""
    for folder in _folders_in(root):
        if any(_images_in(inner) for inner in _folders_in(folder)):
            return f" (did you mean {folder}?)"
    return ""


def _ignored(
    root: Path, parts: dict[str, Path], by_part: dict[str, dict[str, list[Path]]]
) -> Iterator[LeftOut]:
    if root not in parts.values():
        for path in _visible(root):
            if path not in parts.values():
                yield LeftOut(_shown(path, root), "beside the train folder")
    for part, folder in parts.items():
        for path in _visible(folder):
            if path.name not in by_part[part]:
                yield LeftOut(_shown(path, root), "in no class folder")
        for name, images in by_part[part].items():
            taken = set(images)
            for path in _visible(folder / name):
                if path not in taken:
                    yield LeftOut(_shown(path, root), _reason(path))


def _reason(path: Path) -> str:
    if path.is_dir():
        return "a folder inside a class folder"
    if not path.exists():
        return "a link to nothing"
    return f"{path.suffix.lower()} is not read" if path.suffix else "no file name ending"


def _shown(path: Path, root: Path) -> str:
    # Names need not be valid text; what is shown and stored must be.
    return os.fsencode(path.relative_to(root)).decode("utf-8", "replace")


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not _hidden(path))


def _hidden(path: Path) -> bool:
    # .git, .DS_Store, ._IMG_1.jpg; __MACOSX and __pycache__, but __1.jpg is an image.
    return path.name.startswith(".") or (path.name.startswith("__") and path.is_dir())


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _images_in(folder: Path) -> list[Path]:
    suffixes = image_suffixes()
    return [path for path in _visible(folder) if path.suffix.lower() in suffixes and path.is_file()]
