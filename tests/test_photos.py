"""Photos as people have them: what is kept, what is left out and why, and what a search makes of them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from images import noise, splits_of, write_classes
from photos import SIZES, TEXTURES, broken_photos, encoded, odd_photos, photo
from PIL import Image

from scalesearch.errors import InputError
from scalesearch.training.data import load
from scalesearch.training.data.image import decode_image
from scalesearch.training.data.split import content_hashes


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Three classes of 60 JPEGs; nothing else. Only read, by every test that uses it."""
    root, rng = tmp_path_factory.mktemp("album") / "album", np.random.default_rng(0)
    for kind in TEXTURES:
        (root / kind).mkdir(parents=True)
        for number in range(60):
            photo(rng, kind, SIZES[number % 3]).save(root / kind / f"{number:02}.jpg", quality=85)
    return root


def copied(album, root):
    """The same files under another root."""
    for kind in TEXTURES:
        (root / kind).mkdir(parents=True)
        for file in (album / kind).iterdir():
            (root / kind / file.name).hardlink_to(file)
    return root


@pytest.fixture(scope="module")
def mixed(album, tmp_path_factory):
    """The album with all that can go wrong in a folder of photos."""
    root = copied(album, tmp_path_factory.mktemp("mixed") / "mixed")
    across = root / "across"
    broken = {name: content for name, (content, _) in broken_photos().items()}
    for name, content in (odd_photos() | broken).items():
        (across / name).write_bytes(content)
    for name in ("notes.txt", "IMG_1.HEIC", "drawing.eps", "bare", ".hidden.jpg", "._01.jpg"):
        (across / name).write_bytes(b"%!PS")
    (across / "raw").mkdir()
    (across / "link.jpg").symlink_to(across / "00.jpg")
    (across / "lost.jpg").symlink_to(root / "nowhere.jpg")
    (root / ".git").mkdir()
    (root / "cover.jpg").write_bytes(encoded(noise(5), "JPEG"))
    return root


@pytest.fixture(scope="module")
def loaded(mixed, tmp_path_factory):
    return load(mixed, cache=tmp_path_factory.mktemp("cache"))


# --- what is kept ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_image_that_can_be_decoded_is_in_the_splits_exactly_once(mixed, loaded):
    broken, no_images = broken_photos(), {"notes.txt", "IMG_1.HEIC", "drawing.eps", "bare", "lost.jpg"}
    kept = [
        file
        for kind in TEXTURES
        for file in (mixed / kind).iterdir()
        if not (file.name in broken or file.name in no_images or file.name.startswith(".") or file.is_dir())
    ]
    ours = np.concatenate([content_hashes(split.images) for split in splits_of(loaded)])
    expected = content_hashes(np.stack([decode_image(file, loaded.resolution) for file in kept]))
    assert len(kept) == 180 + len(odd_photos()) + 1  # the link is one image more
    assert sorted(ours) == sorted(expected)


def test_photos_are_kept_at_64_px_in_a_cache_of_12_kb_each(loaded):
    assert loaded.resolution == 64
    assert loaded.name == "mixed (class folders, GIF/JPEG/PNG/TIFF/WEBP images brought to 64 px)"
    total = sum(map(len, splits_of(loaded)))
    files = sum(file.stat().st_size for file in loaded.folder.glob("*.npy"))
    assert files / total == pytest.approx(3 * 64 * 64, rel=0.01)
    assert isinstance(loaded.train.images, np.memmap)


def test_the_fingerprint_and_the_splits_depend_on_content_alone(album, tmp_path):
    other = tmp_path / "renamed"
    for kind in reversed(TEXTURES):
        (other / kind).mkdir(parents=True)
        for number, file in enumerate(sorted((album / kind).iterdir(), reverse=True)):
            (other / kind / f"IMG {number}.JPEG").write_bytes(file.read_bytes())
    one, two = (load(root, cache=tmp_path / "cache") for root in (album, other))
    assert one.folder != two.folder
    assert one.fingerprint == two.fingerprint
    for ours, theirs in zip(splits_of(one), splits_of(two), strict=True):
        assert np.array_equal(ours.images, theirs.images)
        assert np.array_equal(ours.labels, theirs.labels)


def test_one_photo_in_two_classes_is_on_one_side_of_the_split(album, tmp_path):
    root = copied(album, tmp_path / "twins")
    for file in (root / "across").iterdir():
        (root / "checks" / f"twin-{file.name}").hardlink_to(file)
    hashes = [set(content_hashes(split.images)) for split in splits_of(load(root, cache=tmp_path / "cache"))]
    assert sum(map(len, hashes)) == len(set.union(*hashes)) == 180


def test_a_rare_class_is_taught(album, tmp_path):
    root = copied(album, tmp_path / "uneven")
    for file in sorted((root / "checks").iterdir())[1:]:
        file.unlink()
    data = load(root, cache=tmp_path / "cache")
    assert [int((split.labels == 1).sum()) for split in splits_of(data)] == [1, 0, 0, 0]


# --- what is left out --------------------------------------------------------------------------------


def test_each_broken_image_is_named_with_its_reason(loaded):
    told = {f"across/{name} ({reason})" for name, (_, reason) in broken_photos().items()}
    assert set(loaded.skipped) == told
    assert len(loaded.skipped) == len(told)


def test_files_that_are_no_images_of_a_class_are_named_and_hidden_ones_are_not(loaded):
    assert set(loaded.ignored) == {
        "across/IMG_1.HEIC (.heic is not read)",
        "across/bare (no file name ending)",
        "across/drawing.eps (.eps is not read)",
        "across/lost.jpg (a link to nothing)",
        "across/notes.txt (.txt is not read)",
        "across/raw (a folder inside a class folder)",
        "cover.jpg (in no class folder)",
    }


def test_what_is_left_out_is_counted_by_reason(loaded):
    assert sum(loaded.left_out.values()) == len(loaded.skipped) + len(loaded.ignored)
    assert loaded.left_out["not an image that can be read"] == 2
    assert loaded.left_out["truncated"] == 1


def test_a_file_that_appears_is_told_of_though_no_image_changed(album, tmp_path):
    root = copied(album, tmp_path / "d")
    before = load(root, cache=tmp_path / "cache")
    (root / "checks" / "list.csv").write_text("1")
    after = load(root, cache=tmp_path / "cache")
    assert (before.ignored, after.ignored) == ((), ("checks/list.csv (.csv is not read)",))
    assert before.fingerprint == after.fingerprint


def test_folders_and_unlabelled_images_beside_train_are_told_of(tmp_path):
    write_classes(tmp_path / "d" / "train", {"cat": 20, "dog": 20})
    write_classes(tmp_path / "d", {"test": 5}, start=10_000)
    (tmp_path / "d" / "labels.csv").write_text("")
    data = load(tmp_path / "d", cache=tmp_path / "cache")
    assert data.ignored == ("labels.csv (beside the train folder)", "test (beside the train folder)")
    assert sum(map(len, splits_of(data))) == 40


def test_a_name_that_is_no_text_is_shown_as_text(tmp_path):
    root = write_classes(tmp_path / "d", {"cat": 20, "dog": 20})
    (root / "cat" / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    assert load(root, cache=tmp_path / "cache").skipped == ("cat/\ufffd.jpg (empty file)",)


# --- one line of refusal -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "rule"),
    [
        ("cat/more/9.png", r"cat/more: .* hold its images directly, but 1 lie one folder deeper"),
        ("cow/1.heic", r"cow: .* must directly hold images, this one holds none \(but 1 \.heic\)"),
        (os.fsdecode(b"\xff/1.png"), "the name of a class folder must be valid UTF-8"),
    ],
)
def test_class_folders_that_would_lose_images_are_refused(extra, rule, tmp_path):
    root = write_classes(tmp_path / "d", {"cat": 20, "dog": 20})
    (root / extra).parent.mkdir()
    noise(1).save(root / extra, "PNG")
    with pytest.raises(InputError, match=rule) as error:
        load(root, cache=tmp_path / "cache")
    assert "\n" not in str(error.value)
    str(error.value).encode()


def test_the_folder_that_an_archive_put_around_the_classes_is_pointed_to(tmp_path):
    write_classes(tmp_path / "d" / "inner", {"cat": 20, "dog": 20})
    with pytest.raises(InputError, match=r"\(did you mean .*inner\?\)"):
        load(tmp_path / "d", cache=tmp_path / "cache")


# --- one photo ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 32), (50, 41), (300, 200), (1, 1), (900, 1)])
def test_a_grey_image_equals_one_of_three_equal_channels(size):
    grey = noise(3, size).convert("L")
    alone, threefold = (decode_image(encoded(image, "PNG"), 32) for image in (grey, grey.convert("RGB")))
    assert np.array_equal(alone, threefold)
    assert (alone[0] == alone[2]).all()


@pytest.mark.parametrize("opacity", [0, 77, 255])
def test_a_translucent_image_is_laid_on_white(opacity):
    colours = noise(4, (64, 64))
    veiled = colours.copy()
    veiled.putalpha(opacity)
    share = opacity / 255
    expected = share * np.asarray(colours, dtype=float) + (1 - share) * 255
    got = decode_image(encoded(veiled, "PNG"), 64).transpose(1, 2, 0)
    assert np.abs(got - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_shown_upright(orientation):
    upright = noise(6, (48, 48))
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.rotate(180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.rotate(90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.rotate(-90),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = decode_image(encoded(stored, "PNG", exif=exif), 48)
    assert np.array_equal(shown, np.asarray(upright).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    moving = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    red, green, blue = decode_image(moving, 40).reshape(3, -1).astype(int).mean(axis=1)
    assert red > 250
    assert max(green, blue) < 5


# --- the command -------------------------------------------------------------------------------------

STUDY = "name: photos\nrungs: [1200]\nspace: {space}\nfinals: {{candidates: 1, seeds: 1, share: 0.2}}\n"
SPACE = {
    "name": "plain",
    "resolution": 64,
    "stem": {"channels": {"choice": [16, 24]}, "stride": 2, "act": "relu"},
    "stages": [
        {"operator": "fused_mbconv", "channels": 24, "repeats": 1, "stride": 2, "kernel": 3, "expand": 2},
        {"operator": "fused_mbconv", "channels": 40, "repeats": 1, "stride": 2, "kernel": 3, "expand": 2},
    ],
    "head": {"channels": None},
    "coefficients": {"growth": 2},
}


@pytest.mark.long
def test_a_search_on_the_mixed_folder_beats_chance_and_names_what_is_left_out(mixed, tmp_path):
    (tmp_path / "space.yaml").write_text(json.dumps(SPACE))
    (tmp_path / "study.yaml").write_text(STUDY.format(space=tmp_path / "space.yaml"))
    arguments = [
        "--data",
        mixed,
        "--study",
        tmp_path / "study.yaml",
        "--trials",
        1,
        "--out",
        "found",
        "--json",
    ]
    process = subprocess.run(
        [sys.executable, "-W", "error", "-m", "scalesearch", "run", "--budget-flops", "1e8"]
        + [str(argument) for argument in (*arguments, "--workers", 1)],
        cwd=tmp_path,
        env=os.environ | {"SCALESEARCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert report["best"]["proxy_accuracy"] > 0.6  # chance is 1/3
    assert report["data"]["skipped"] == len(broken_photos())
    assert sum(report["data"]["left_out"].values()) >= len(broken_photos())
    assert "other files were not taken for images" in " ".join(process.stderr.split())
    told = " ".join(process.stderr.split())
    assert "6 images could not be decoded and are left out" in told
    assert "across/bomb.png (more than 178,956,970 pixels)" in told
