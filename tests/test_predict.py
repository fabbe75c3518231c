"""Image files classified by a model: the module's own answer, on every kind of file."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from handed_over import HOSTILE, STAGES, small, trained
from photos import TEXTURES, broken_photos, odd_photos, photo
from typer.testing import CliRunner

from scalesearch.cli import app
from scalesearch.errors import InputError
from scalesearch.handover.classify import Classifier
from scalesearch.handover.export import export
from scalesearch.handover.model import Model, write_model
from scalesearch.handover.model_card import model_card
from scalesearch.handover.plain import plain_module
from scalesearch.handover.source import source
from scalesearch.training import augment
from scalesearch.training.data import load
from scalesearch.training.data.image import decode_image
from scalesearch.training.full import images

# Without 95 million pixels, which take seconds; how they are met has a test of its own.
PHOTOS = {name: content for name, content in odd_photos().items() if name != "huge.png"}


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Small networks wait for threads."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An exported model with hostile names, and files of every kind."""
    root = tmp_path_factory.mktemp("predict")
    export(model(), root / "model", forms=["network"])
    for name, content in PHOTOS.items():
        (root / name).write_bytes(content)
    for name, (content, _) in broken_photos().items():
        (root / name).write_bytes(content)
    return root


def model():
    made = trained(small(STAGES["mbconv"]), ("\x1b[31mred", *HOSTILE[1:]))
    made.weights["head.classifier.weight"].mul_(30)  # so that images differ in their classes
    return made


def run(*arguments):
    return CliRunner().invoke(app, ["predict", *(str(one) for one in arguments)])


def expected(file):
    """What the exported file itself says of an image that is decoded as in training."""
    own = model()
    module = plain_module(source(own.network), own.network)
    module.load_state_dict(dict(own.weights))
    pixels = torch.tensor(decode_image(file, 24)).float()[None] / 255
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (own.mean, own.std))
    with torch.no_grad():
        return module((pixels - mean) / std).softmax(1)[0]


def test_every_file_that_can_be_decoded_gets_the_modules_own_answer(folder):
    files = [folder / name for name in PHOTOS]
    done = run(folder / "model", *files, "--json", "--top", "4")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["schema"], report["network"]) == (1, "small")
    assert [one["file"] for one in report["images"]] == [str(file) for file in files]
    for file, one in zip(files, report["images"], strict=True):
        shares = expected(file)
        assert one["classes"][0]["index"] == int(shares.argmax())
        given = [guess["probability"] for guess in one["classes"]]
        assert given == pytest.approx(sorted(shares.tolist(), reverse=True), rel=1e-4, abs=1e-6)
        assert [guess["name"] for guess in one["classes"]] == [
            model().classes[guess["index"]] for guess in one["classes"]
        ]
    assert len({tuple(guess["index"] for guess in one["classes"]) for one in report["images"]}) > 1


def classifies(model, files):
    found = Classifier(model).classify(files, top=99)
    by_index = [{guess.index: guess.probability for guess in one.guesses} for one in found]
    return torch.tensor([[one[index] for index in sorted(one)] for one in by_index])


def evaluated(model, batches):
    module = plain_module(source(model.network), model.network)
    module.load_state_dict(dict(model.weights))
    with torch.no_grad():
        return torch.cat([module(x).softmax(1) for x, _ in batches])


def taught(resolution, **facts):
    made = trained(small(STAGES["mbconv"], resolution=resolution), **facts)
    made.weights["head.classifier.weight"].mul_(30)
    return made


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photo files of a data set, in the order of the images that it keeps of them."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(2)
    for texture in TEXTURES:
        (root / texture).mkdir()
        for number in range(20):
            photo(rng, texture).save(root / texture / f"{number}.jpg")
    data = load(root, cache=tmp_path_factory.mktemp("cache"))
    decoded = {decode_image(file, data.resolution).tobytes(): file for file in root.glob("*/*.jpg")}
    return data, [decoded[image.tobytes()] for image in data.report.images]


@pytest.mark.parametrize("resolution", [24, 40, 64, 80])
def test_a_file_gets_the_probabilities_that_its_stored_image_got_in_the_evaluation(photos, resolution):
    data, files = photos
    assert data.resolution == 64
    about = {"name": "photos", "resolution": data.resolution}
    model = taught(resolution, data=about)
    mean, std = torch.tensor(model.mean), torch.tensor(model.std)
    batches = images.evaluation_batches(data.report, (resolution, resolution), mean, std)
    torch.testing.assert_close(classifies(model, files), evaluated(model, batches), rtol=1e-4, atol=1e-6)
    area = taught(resolution, data=about, resize="area")
    stored = replace(augment.DeviceData.of(data), mean=255 * mean.view(3, 1, 1), std=255 * std.view(3, 1, 1))
    size, report = (resolution, resolution), (stored.report_images, stored.report_labels)
    by_area = evaluated(area, augment.evaluation_batches(*report, size, stored))
    torch.testing.assert_close(classifies(area, files), by_area, rtol=1e-4, atol=1e-6)
    same = torch.allclose(classifies(model, files), classifies(area, files), atol=1e-4)
    assert same == (resolution == data.resolution)


def test_the_card_says_how_images_are_prepared():
    for facts, words in (
        (
            {"data": {"resolution": 64}},
            "at 64 px (shorter side resized bicubically) and then resized bilinearly",
        ),
        (
            {"data": {"resolution": 32}, "resize": "area"},
            "at 32 px (shorter side resized bicubically) and then resized by area",
        ),
    ):
        shown = model_card(taught(24, **facts), (), seed=0, cost=None, checked=(), left_out={})
        assert words in shown


@pytest.mark.parametrize("side", [0, -1, 1.5, True, "64", 10**9])
def test_a_stored_side_that_cannot_be_one_is_refused(side):
    with pytest.raises(InputError, match=r"data\.resolution is whole pixels from 1 to 4096"):
        Classifier(taught(24, data={"resolution": side}))


def test_files_that_cannot_be_read_get_a_line_each_after_which_the_others_are_classified(folder):
    broken = broken_photos()
    files = [*broken, "missing.jpg", "grey.jpg"]
    done = run(folder / "model", *(folder / name for name in files))
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{folder / 'grey.jpg'}: ")
    assert len(done.stdout.splitlines()) == 1
    told = dict(line.removeprefix(f"{folder}/").split(": ", 1) for line in done.stderr.splitlines())
    assert told == {name: reason for name, (_, reason) in broken.items()} | {
        "missing.jpg": "no such file or directory"
    }


def test_a_file_that_is_decoded_all_the_same_has_no_warning(folder, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 40_000)  # the photo has 60,000, not yet twice as many
    done = run(folder / "model", folder / "grey.jpg")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_folder_among_the_files_is_an_error_of_its_own(folder):
    done = run(folder / "model", folder, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["images"][0]["error"] == "is a directory"


def test_no_more_classes_are_shown_than_there_are_or_were_asked_for(folder):
    for top, shown in (("1", 1), ("3", 3), ("99", 4)):
        done = run(folder / "model", folder / "grey.jpg", "--json", "--top", top)
        assert len(json.loads(done.stdout)["images"][0]["classes"]) == shown
    with pytest.raises(InputError, match="--top must be at least 1"):
        raise run(folder / "model", folder / "grey.jpg", "--top", "0").exception


def test_names_do_nothing_to_the_terminal(folder):
    done = run(folder / "model", folder / "grey.jpg")
    assert all(one.isprintable() for one in done.stdout.rstrip("\n"))
    assert "\\x1b[31mred" in done.stdout


def test_classes_without_names_are_told_by_number(tmp_path, folder):
    write_model(tmp_path / "model", trained(small(STAGES["mbconv"])))
    done = run(tmp_path / "model", folder / "grey.jpg", "--top", "1")
    assert ": class " in done.stdout


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (Model(small(STAGES["mbconv"])), "no trained weights"),
        (trained(small(STAGES["mbconv"], resolution=(24, 32))), "3 x 24 x 32"),
        (trained(small(STAGES["mbconv"], dims=3, resolution=(4, 24, 24))), "3 x 4 x 24 x 24"),
    ],
)
def test_a_model_that_takes_no_image_files_is_refused(refused, reason):
    with pytest.raises(InputError, match=reason):
        Classifier(refused)


def test_damaged_weights_are_one_line(tmp_path):
    write_model(tmp_path / "model", trained(small(STAGES["mbconv"])))
    file = tmp_path / "model" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match="no readable safetensors file"):
        raise run(tmp_path / "model", "x.jpg").exception
