"""Folders of images: class/image, or train|val|test/class/image."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from scalesearch.errors import InputError
from scalesearch.training.data.decode import BATCH, Encoded, decode_all
from scalesearch.training.data.pool import PARTS, Pool, Progress, identify


@dataclass(frozen=True)
class ClassFolders:
    """Image files with their part and class; `classes` is sorted by name, as labels count it."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[str, int, Path], ...]
    demonstration = False

    @property
    def where(self) -> str:
        """What errors name."""
        return str(self.root)

    def identity(self) -> list[object]:
        """See Source.identity."""
        return ["folders", self.classes, *identify([file for _, _, file in self.files], self.root)]

    def read(self, scratch: Path, progress: Progress) -> Pool:
        """See Source.read."""
        decoded = decode_all(self.where, self._batches, scratch, progress)
        name = f"{self.root.name} (class folders, {decoded.formats} images)"
        return Pool(name, self.classes, decoded.images, decoded.labels, decoded.parts, decoded.skipped)

    def _batches(self) -> Iterator[list[Encoded]]:
        for start in range(0, len(self.files), BATCH):
            rows = self.files[start : start + BATCH]
            yield [Encoded(str(file.relative_to(self.root)), part, label, file) for part, label, file in rows]


def find_class_folders(root: Path) -> ClassFolders:
    """Find the images of a folder of class folders, or of train, val and test folders of such.

    Raises InputError where there are none, a class folder holds no image itself, or a class of
    another part is missing from the training part.
    """
    parts = _parts(root)
    by_part = {part: _classes_in(folder) for part, folder in parts.items()}
    if not by_part["train"]:
        raise InputError(
            f"{root} holds neither Parquet files (*train*.parquet), nor class folders with images, "
            "nor train/val/test folders of class folders, nor cifar-10-batches-py"
        )
    classes = tuple(sorted(by_part["train"]))
    files = []
    for part, members in by_part.items():
        for name, images in members.items():
            if name not in classes:
                raise InputError(f"{parts[part] / name}: class {name!r} is not in {parts['train']}")
            files += [(part, classes.index(name), image) for image in images]
    return ClassFolders(root, classes, tuple(files))


@cache
def image_suffixes() -> frozenset[str]:
    """Collect the file name endings of all formats that Pillow can open."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN)


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
        raise InputError(f"{root / empty[0]}: a class folder must directly hold images, this one holds none")
    return {name: images for name, images in classes.items() if images}


def _folders_in(folder: Path) -> list[Path]:
    # Names that begin so are no classes: .git, __MACOSX, __pycache__.
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))
    )


def _images_in(folder: Path) -> list[Path]:
    suffixes = image_suffixes()
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
