"""The recipe of full training: its schedule, its stages, its documents and what they refuse."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scalesearch import documents
from scalesearch.errors import InputError
from scalesearch.training.full.recipe import FullRecipe, Stage

shares = st.floats(0.0, 1.0)


@given(epochs=st.integers(1, 400), warmup=st.floats(0, 0.9), final=shares, progress=shares)
def test_the_rate_rises_to_one_and_falls_to_its_share(epochs, warmup, final, progress):
    recipe = FullRecipe(epochs=epochs, warmup_epochs=warmup * epochs, final_rate=final)
    assert 0 <= recipe.rate(progress) <= 1
    assert recipe.rate(warmup) == pytest.approx(1)
    assert recipe.rate(1.0) == pytest.approx(final)
    later = min(1.0, progress + 0.01)
    if later < warmup - 1e-9:
        assert recipe.rate(progress) <= recipe.rate(later)
    if progress > warmup + 1e-9:
        assert recipe.rate(progress) >= recipe.rate(later) - 1e-12


@pytest.mark.parametrize(("epochs", "warmup", "final"), [(50, 0, 0.0), (50, 5, 0.0), (30, 3, 0.1)])
def test_the_rate_is_what_torch_schedules(epochs, warmup, final):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=2.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs - warmup, eta_min=2.0 * final)
    recipe = FullRecipe(epochs=epochs, warmup_epochs=warmup, final_rate=final)
    for epoch in range(warmup, epochs):
        assert 2 * recipe.rate(epoch / epochs) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        cosine.step()


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(1, 4))
def test_each_stage_has_its_share_of_the_epochs_in_order(parts, times):
    epochs = sum(parts) * times
    scales = [(number + 1) / len(parts) for number in range(len(parts))]
    stages = tuple(Stage(part / sum(parts), scale) for part, scale in zip(parts, scales, strict=True))
    recipe = FullRecipe(epochs=epochs, warmup_epochs=0, stages=stages)
    seen = [recipe.stage(epoch).scale for epoch in range(epochs)]
    assert seen == [scale for part, scale in zip(parts, scales, strict=True) for _ in range(part * times)]


def test_regularisation_is_the_recipes_times_the_strength_of_the_stage():
    values = {"randaugment_magnitude": 15, "mixup": 0.4, "cutmix": 0.8, "random_erasing": 0.5, "dropout": 0.3}
    stages = (Stage(0.5, 0.6, 1 / 3), Stage(0.5, 1.0))
    recipe = FullRecipe(epochs=4, warmup_epochs=0, stages=stages, **values)
    assert recipe.setting(0) == recipe.setting(1)
    assert recipe.setting(1) == pytest.approx((0.6, 5, 0.4 / 3, 0.8 / 3, 0.5 / 3, 0.1))
    assert recipe.setting(2) == pytest.approx((1.0, 15, 0.4, 0.8, 0.5, 0.3))
    assert replace(recipe, dropout=None).setting(0).dropout is None


def test_progressive_learning_follows_the_papers_algorithm():
    # Tan and Le 2021, algorithm 1: side and strength grow linearly over M = 4 stages. V2-S, table 6: sides
    # 128 to 300 px, dropout 0.1 to 0.3.
    recipe = documents.load_full_recipe("progressive")
    for number, epoch in enumerate((0, 100, 200, 349)):
        setting = recipe.setting(epoch)
        assert setting.scale * 300 == pytest.approx(128 + (300 - 128) * number / 3, abs=1.5)
        assert setting.dropout == pytest.approx(0.1 + (0.3 - 0.1) * number / 3, abs=1e-3)


def test_a_recipe_over_other_epochs_keeps_its_schedule():
    recipe = documents.load_full_recipe("full")
    short = recipe.over(2)
    assert short.epochs == 2
    assert [short.rate(p) for p in (0.01, 0.3, 1.0)] == [recipe.rate(p) for p in (0.01, 0.3, 1.0)]


INVALID = [
    ({"epochs": 0}, "epochs must be at least 1, but got 0"),
    ({"accumulate": 3}, "accumulate must divide batch_size 128, but got 3"),
    ({"learning_rate": 0.0}, "learning_rate must be above 0, but got 0.0"),
    ({"learning_rate": math.inf}, "learning_rate must be a finite number, but got inf"),
    ({"momentum": 1.0}, r"momentum must be in \[0, 1\), but got 1.0"),
    ({"betas": (0.9, 1.0)}, r"each of betas must be in \[0, 1\), but got 1.0"),
    ({"weight_decay": -1.0}, "weight_decay must be at least 0, but got -1.0"),
    ({"warmup_epochs": 200}, "warmup_epochs must be below the 200 epochs, but got 200"),
    ({"final_rate": 1.1}, r"final_rate must be in \[0, 1\], but got 1.1"),
    ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), but got 1.0"),
    ({"randaugment_magnitude": 31}, r"randaugment_magnitude must be in \[0, 30\], but got 31"),
    ({"random_erasing": 1.5}, r"random_erasing must be in \[0, 1\], but got 1.5"),
    ({"dropout": 1.0}, r"dropout must be in \[0, 1\), but got 1.0"),
    ({"mixup": math.nan}, "mixup must be a finite number, but got nan"),
    ({"crop_area": (0.5, 0.2)}, r"crop_area must be a range in \(0, 1\], but got \(0.5, 0.2\)"),
    ({"crop_aspect": (0.0, 1.0)}, r"crop_aspect must be a range above 0, but got \(0.0, 1.0\)"),
    ({"crop_area": (0.5, 1.0), "crop_padding": 4}, "crop_padding and crop_area exclude each other"),
    ({"stages": (Stage(0.5, 1.0),)}, "shares of all stages must add up to 1, but add up to 0.5"),
    ({"stages": ()}, "shares of all stages must add up to 1, but add up to 0"),
    ({"stage_decay": 0.0}, r"stage_decay must be in \(0, 1\], but got 0.0"),
    ({"head_rate": 0.0}, r"head_rate must be in \(0, inf\), but got 0.0"),
]


@pytest.mark.parametrize(("values", "line"), INVALID, ids=lambda value: str(value)[:40])
def test_a_value_outside_its_rule_is_refused(values, line):
    with pytest.raises(ValueError, match=line):
        FullRecipe(**values)


@pytest.mark.parametrize("values", [(0.0, 1.0, 1.0), (1.0, 1.1, 1.0), (1.0, 1.0, -0.1)])
def test_a_stage_outside_its_rule_is_refused(values):
    with pytest.raises(ValueError, match=r"a stage's \w+ must be in"):
        Stage(*values)


def written(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("epochs: 3\nwarmup_epoch: 1", "warmup_epoch: there is no such field; did you mean 'warmup_epochs'"),
        ("epochs: 3\noptimizer: adam", "optimizer: .*'sgd', 'adamw' or 'muon'.*'adam'"),
        ("epochs: 3\nwarmup_epochs: 4", "warmup_epochs must be below the 3 epochs, but got 4"),
        (
            "epochs: 3\nwarmup_epochs: 0\nstages: [{share: 1, scale: 2}]",
            r"stages.0: .*scale must be in \(0, 1\]",
        ),
        ("epochs: 3\nstages: [{share: 1, scales: 1}]", "stages.0.scales: there is no such field"),
        ("epochs: 3\nstages: 1", "stages: "),
        ("epochs: many", "epochs: .*integer.*'many'"),
    ],
)
def test_a_document_that_breaks_a_rule_is_refused_with_its_place(tmp_path, text, line):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=line) as error:
        documents.load_full_recipe(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_recipe_of_the_other_kind_is_refused_with_the_command_that_takes_it():
    with pytest.raises(InputError, match=r"full.yaml: .*epochs.* scalesearch train takes it"):
        documents.load_recipe("full")
    with pytest.raises(InputError, match=r"proxy.yaml: .*epochs.* scalesearch run takes it"):
        documents.load_full_recipe("proxy")
