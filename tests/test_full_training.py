"""Full trainings: exact over stops and kills, honest about the test images, equal over processes."""

import csv
import math
import multiprocessing
import os
import random
import signal
import socket
import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.errors import InputError
from scalesearch.training.build import build
from scalesearch.training.data import Split, load
from scalesearch.training.full import checkpoint
from scalesearch.training.full import recipe as recipes
from scalesearch.training.full.average import moving_average
from scalesearch.training.full.checkpoint import CHECKPOINT
from scalesearch.training.full.distributed import ALONE, joined
from scalesearch.training.full.images import evaluation_batches
from scalesearch.training.full.logs import EVENTS, LOG, Logs
from scalesearch.training.full.loop import train_fully
from scalesearch.training.full.optimizer import Optimizers
from scalesearch.training.full.recipe import FullRecipe
from scalesearch.training.full.steps import FullTraining
from scalesearch.training.full.task import Task

TINY = Network(
    name="tiny",
    resolution=8,
    stem=Stem(8, stride=1),
    stages=(
        Stage("mbconv", 8, 1, 1, (("expand", 2),)),
        Stage("fused_mbconv", 16, 2, 2, (("expand", 2),)),
    ),
    head=Head(24, dropout=0.2),
    classes=10,
    drop_path=0.2,
)
RECIPE = FullRecipe(
    epochs=3,
    batch_size=32,
    learning_rate=0.05,
    warmup_epochs=1,
    ema_decay=0.9,
    crop_padding=1,
    mixup=0.2,
    random_erasing=0.2,
    dropout=0.1,
    stages=(recipes.Stage(1 / 3, 0.75, 0.5), recipes.Stage(2 / 3, 1.0)),
)
STEPS = 4  # an epoch
CPU = torch.device("cpu")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "scalesearch.training.full.loop", "torch.optim.swa_utils"])

pytestmark = pytest.mark.usefixtures("one_thread")


def few(split, count):
    return Split(split.images[:count], split.labels[:count])


@cache
def digits():
    """A small part of the digits, mapped from the user's cache."""
    data = load("digits")
    parts = {"train": 32 * STEPS + 5, "select": 60, "report": 60, "test": 100}
    return replace(data, **{name: few(getattr(data, name), count) for name, count in parts.items()})


def task(recipe=RECIPE, network=TINY, seed=1, data=None):
    return Task(network, data or digits(), recipe, seed, CPU)


def stop_after(steps):
    asked = iter(range(steps))
    return lambda: next(asked, None) is None


def known(trained):
    """Everything that a repeat must reproduce, but the weights."""
    timed = ("seconds", "images_per_second")
    rows = tuple({name: row[name] for name in row if name not in timed} for row in trained.rows)
    return replace(trained, rows=rows, weights=None, last=None, seconds=0.0, peak_memory=0)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def run(folder, **arguments):
    folder.mkdir(exist_ok=True)
    return train_fully(task(), folder, **arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The training that nothing interrupts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield run(tmp_path_factory.mktemp("whole"))
    torch.set_num_threads(threads)


def check_equal(found, whole):
    assert known(found) == known(whole)
    assert same(found.weights, whole.weights)
    assert same(found.last, whole.last)


# Stopped and killed


def test_a_repeat_is_equal_bit_for_bit_and_leaves_the_callers_randomness_alone(tmp_path, whole):
    torch.rand(3)
    state = torch.get_rng_state()
    check_equal(run(tmp_path), whole)
    assert torch.equal(torch.get_rng_state(), state)
    assert whole.status == "complete"
    assert whole.steps == 3 * STEPS
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, f"best-{whole.best:05d}.safetensors"}


@pytest.mark.parametrize("stops", [[0], [1], [STEPS], [STEPS + 3], [2, 3, 5]])
def test_a_stopped_training_continues_bit_for_bit(tmp_path, whole, stops):
    taken = 0
    for stop in stops:
        stopped = run(tmp_path, should_stop=stop_after(stop))
        taken += stop
        assert (stopped.status, stopped.steps, stopped.test) == ("interrupted", taken, None)
    check_equal(run(tmp_path), whole)


@pytest.mark.parametrize(
    "recipe",
    [
        replace(RECIPE, optimizer="adamw", learning_rate=2e-3, accumulate=2, ema_decay=0.0),
        replace(RECIPE, optimizer="muon", channels_last=False, clip_norm=1.0),
        replace(RECIPE, amp="bf16", cutmix=1.0),
    ],
    ids=["adamw", "muon", "bf16"],
)
def test_every_optimizer_and_precision_continues_bit_for_bit(tmp_path, recipe):
    asked = task(replace(recipe, epochs=2))
    (tmp_path / "whole").mkdir()
    first = train_fully(asked, tmp_path / "whole")
    train_fully(asked, tmp_path, should_stop=stop_after(STEPS + 1))
    check_equal(train_fully(asked, tmp_path), first)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def live(folder, step):
    """A life that is killed after a step of its own; every step writes a checkpoint."""
    torch.set_num_threads(1)
    taken = iter(range(step - 1))
    run(folder, every=0, on_progress=lambda _seen: next(taken, None) is None and die())


def live_to_the_end_of_an_epoch(folder, written):
    """A life that is killed when the checkpoint of an epoch's end is to be written, or just was."""
    torch.set_num_threads(1)
    write = checkpoint.write

    def die_there(*place, **parts):
        if written:
            write(*place, **parts)
        die()

    checkpoint.write = die_there
    run(folder)


def live_to_an_evaluation(folder, survived):
    """A life that is killed in an evaluation of an epoch; every step may write a checkpoint."""
    torch.set_num_threads(1)
    left, score = iter(range(survived)), FullTraining.score

    def die_there(training, split):
        return die() if next(left, None) is None else score(training, split)

    FullTraining.score = die_there
    run(folder, every=0)


def killed(*life):
    process = FORKS.Process(target=life[0], args=life[1:])
    process.start()
    process.join(120)
    return process.exitcode


def test_a_killed_training_continues_bit_for_bit(tmp_path, whole):
    draw = random.Random(3)
    for _ in range(3):
        assert killed(live, tmp_path, draw.randint(1, 4)) == -signal.SIGKILL
    check_equal(run(tmp_path), whole)


@pytest.mark.slow
def test_a_kill_between_the_files_of_an_epochs_end_costs_neither_of_them(tmp_path, whole):
    for written in (False, True, True, False, True):
        assert killed(live_to_the_end_of_an_epoch, tmp_path, written) == -signal.SIGKILL
    check_equal(run(tmp_path), whole)
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, f"best-{whole.best:05d}.safetensors"}


def test_a_kill_in_an_evaluation_loses_no_epoch(tmp_path, whole):
    for survived, step in ((0, STEPS - 1), (1, 2 * STEPS - 1)):
        assert killed(live_to_an_evaluation, tmp_path, survived) == -signal.SIGKILL
        stored = torch.load(tmp_path / CHECKPOINT, weights_only=True)["state"]
        assert (stored["step"], len(stored["rows"])) == (step, step // STEPS)
    check_equal(run(tmp_path), whole)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_checkpoint_between_an_epoch_and_its_evaluation_is_evaluated_first(tmp_path, epochs):
    asked = task(replace(RECIPE, epochs=epochs, warmup_epochs=0.5))
    (tmp_path / "whole").mkdir()
    training = FullTraining(asked, ALONE)
    with torch.random.fork_rng():
        parts = training.parts()
        for _ in range(STEPS):
            training.step(parts)
        training.look()
        training.save(tmp_path / CHECKPOINT)
    check_equal(train_fully(asked, tmp_path), train_fully(asked, tmp_path / "whole"))


def test_half_a_checkpoint_is_refused(tmp_path):
    run(tmp_path, should_stop=stop_after(2))
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"checkpoint\.pt: a checkpoint is a whole file"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            lambda: task(replace(RECIPE, label_smoothing=0.2)),
            r"recipe\.label_smoothing: 0\.1 there, 0\.2 here",
        ),
        (lambda: task(seed=2), "seed: 1 there, 2 here"),
        (lambda: task(network=replace(TINY, drop_path=0.1)), r"network\.drop_path: 0\.2 there, 0\.1 here"),
        (lambda: task(data=replace(digits(), fingerprint="x")), "data: .* there, 'x' here"),
        (lambda: replace(task(), freeze="trunk"), "freeze: 'none' there, 'trunk' here"),
    ],
)
def test_another_training_is_refused_and_the_field_is_named(tmp_path, changed, named):
    run(tmp_path, should_stop=stop_after(1))
    with pytest.raises(InputError, match=f"another training; it differs in {named}$"):
        train_fully(changed(), tmp_path)


# What is measured


class Watched:
    """Images of a split that note when they are read."""

    def __init__(self, images, note):
        self._images, self._note = images, note

    def __getitem__(self, part):
        self._note()
        return self._images[part]


def test_the_test_images_are_read_once_after_the_last_step(tmp_path):
    data, steps, reads = digits(), [], []
    watched = replace(
        data, test=Split(Watched(data.test.images, lambda: reads.append(len(steps))), data.test.labels)
    )
    trained = train_fully(task(data=watched), tmp_path, on_progress=steps.append)
    assert reads == [3 * STEPS]
    assert trained.test.images == len(data.test)


def test_data_without_test_images_end_with_the_report_alone(tmp_path):
    trained = train_fully(task(data=replace(digits(), test=None)), tmp_path)
    assert trained.test is None
    assert trained.report.images == 60


def right(weights, split, trained):
    model = build(TINY).eval()
    model.load_state_dict(weights)
    mean, std = torch.tensor(trained.mean), torch.tensor(trained.std)
    with torch.no_grad():
        batches = evaluation_batches(split, (8, 8), mean, std)
        return sum(int((model(x).argmax(1) == labels).sum()) for x, labels in batches)


def test_the_best_epoch_is_kept_and_its_scores_are_its_own(tmp_path):
    restless = replace(RECIPE, epochs=6, learning_rate=2.0, final_rate=1.0, ema_decay=0.0)
    trained = train_fully(task(restless), tmp_path)
    rows = [(row["select_accuracy"], -row["select_loss"], row["epoch"]) for row in trained.rows]
    assert trained.best == max(rows)[2] != 6
    data = digits()
    for split, score in (
        (data.select, trained.select),
        (data.report, trained.report),
        (data.test, trained.test),
    ):
        assert right(trained.weights, split, trained) == score.right
    assert right(trained.last, data.select, trained) / 60 == trained.rows[-1]["select_accuracy"]
    assert not same(trained.weights, trained.last)


def test_accuracies_come_with_wilsons_interval(whole):
    from scipy.stats import binomtest

    said = whole.test.described()
    interval = binomtest(whole.test.right, whole.test.images).proportion_ci(method="wilson")
    assert said["interval"] == pytest.approx([interval.low, interval.high], abs=1e-4)
    assert said["accuracy"] == whole.test.right / 100


class Wild(FullRecipe):
    """A learning rate that breaks the training in its second epoch."""

    def rate(self, progress):
        return math.inf if progress > 0.45 else super().rate(progress)


def test_a_loss_that_is_not_finite_ends_the_training_where_it_happens_and_the_best_is_kept(tmp_path):
    wild = Wild(**{name: getattr(RECIPE, name) for name in RECIPE.__dataclass_fields__})
    trained = train_fully(task(wild), tmp_path)
    assert trained.status == "failed"
    # The sixth step's middle is at 11 / 24 of the training; what it broke shows in the seventh.
    assert trained.reason == "non-finite loss in epoch 2 of 3, step 3 of 4"
    assert trained.best == 1
    assert right(trained.weights, digits().select, trained) == trained.select.right
    assert trained.test is None


def full(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_a_batch_beyond_the_memory_ends_with_what_would_help(tmp_path, monkeypatch):
    monkeypatch.setattr(FullTraining, "step", full)
    trained = run(tmp_path)
    assert trained.status == "failed"
    assert trained.reason.startswith(
        "out of memory with 32 images at once: --accumulate 2 takes less and begins a new training, "
        "in another --out or in the default folder (CUDA out of memory."
    )


@pytest.mark.parametrize("where", ["step", "load"])
def test_the_best_epoch_before_the_memory_ended_is_kept(tmp_path, monkeypatch, where):
    run(tmp_path, should_stop=stop_after(STEPS + 1))
    broken = (FullTraining, "step") if where == "step" else (Optimizers, "load_state_dict")
    with monkeypatch.context() as patched:
        patched.setattr(*broken, full)
        trained = run(tmp_path)
    assert (trained.status, trained.best, trained.steps) == ("failed", 1, STEPS + 1)
    assert len(trained.rows) == 1
    assert right(trained.weights, digits().select, trained) == trained.select.right
    assert run(tmp_path).status == "complete"


def test_a_network_beyond_the_memory_is_not_told_to_divide_its_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(nn.Module, "to", full)
    assert run(tmp_path).reason.startswith("out of memory before the first step: the network needs a larger")


def test_no_parts_of_one_image_are_advised_or_trained_where_batch_norm_measures(tmp_path, monkeypatch):
    small = replace(digits(), train=few(digits().train, 7))
    with pytest.raises(InputError, match=r"needs 2 images in each part .* 7 images in 4 parts .* have 1$"):
        train_fully(task(replace(RECIPE, accumulate=4), data=small), tmp_path)
    kept = train_fully(task(plain(accumulate=4, epochs=2), data=small), tmp_path)
    assert (kept.status, kept.images) == ("complete", 8)
    monkeypatch.setattr(FullTraining, "step", full)
    for recipe, data, advice in (
        (replace(RECIPE, accumulate=2), small, "3 images at once: a smaller --resolution takes less"),
        (plain(accumulate=2), small, "3 images at once: --accumulate 4 takes less"),
        (replace(RECIPE, accumulate=16), digits(), "2 images at once: a smaller --resolution takes less"),
    ):
        folder = tmp_path / advice[:1] / str(len(list(tmp_path.iterdir())))
        folder.mkdir(parents=True)
        assert advice in train_fully(task(recipe, data=data), folder).reason


def test_images_are_those_that_were_shown(tmp_path, whole):
    assert whole.images == 3 * STEPS * 32
    few_images = train_fully(task(replace(RECIPE, batch_size=1000)), tmp_path)
    assert few_images.images == 3 * len(digits().train)
    assert train_fully(task(replace(RECIPE, batch_size=1000)), tmp_path).images == few_images.images


# What tells trainings apart


def test_a_network_under_another_name_has_the_same_training(tmp_path, whole):
    run(tmp_path, should_stop=stop_after(STEPS + 1))
    renamed = task(network=replace(TINY, name="other"))
    assert renamed.key(1) == task().key(1)
    check_equal(train_fully(renamed, tmp_path), whole)


def test_keys_that_hold_the_networks_name_are_read(tmp_path, whole, monkeypatch):
    key = Task.key

    def named(asked, world):
        found = key(asked, world)
        return found | {"network": {"name": "tiny"} | found["network"]}

    with monkeypatch.context() as former:
        former.setattr(Task, "key", named)
        run(tmp_path, should_stop=stop_after(STEPS + 1))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["key"]["network"]["name"] == "tiny"
    check_equal(run(tmp_path), whole)


def test_torchvisions_weights_are_not_a_folder_of_that_name(tmp_path, monkeypatch):
    asked = replace(task(), weights="torchvision")
    before = asked.key(1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torchvision").mkdir()
    assert asked.key(1) == before


# Steps


def plain(**changes):
    """A recipe by which images do not see each other: batch norm as it is, nothing mixed, nothing dropped."""
    fixed = {"norm_eval": True, "mixup": 0.0, "dropout": 0.0, "drop_path": 0.0}
    return replace(RECIPE, **fixed | changes)


def test_an_accumulated_batch_gives_what_the_whole_one_gives(tmp_path):
    found = []
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        folder.mkdir()
        found.append(train_fully(task(plain(accumulate=parts)), folder))
    assert found[0].rows[-1]["train_loss"] == pytest.approx(found[1].rows[-1]["train_loss"], rel=1e-4)
    for name, tensor in found[0].last.items():
        torch.testing.assert_close(tensor, found[1].last[name], rtol=1e-3, atol=1e-5)
    before = build(TINY).state_dict()
    assert not same(found[0].last, before)


@pytest.mark.parametrize("taken", [1, 2, 30])
def test_the_moving_average_is_torchs_own_from_zero_divided_by_the_sum_of_its_weights(taken):
    decay, model = 0.9, nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = moving_average(model, decay)
    rival = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    rival.n_averaged += 1
    for tensor in rival.module.state_dict().values():
        tensor.zero_()
    for _ in range(taken):
        model(torch.randn(8, 3))
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight))
        average.update_parameters(model)
        rival.update_parameters(model)
    theirs = rival.module.state_dict()
    for name, tensor in average.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor * (1 - decay**taken), theirs[name])


def test_rates_follow_the_recipe_and_each_groups_own_top(whole):
    training = FullTraining(task(replace(RECIPE, head_rate=3.0)), ALONE)
    factor = training.optimizers.set_rates(0.7)
    rates = {group["lr"] for one in training.optimizers._all for group in one.param_groups}
    assert factor == RECIPE.rate(0.7)
    assert sorted(rates) == pytest.approx([0.05 * factor, 0.15 * factor])
    middles = [(STEPS * epoch - 0.5) / (3 * STEPS) for epoch in (1, 2, 3)]
    assert [row["learning_rate"] for row in whole.rows] == [0.05 * RECIPE.rate(at) for at in middles]


def test_stages_set_size_and_dropout():
    training, seen = FullTraining(task(), ALONE), []
    for epoch in range(3):
        training.state.step = epoch * STEPS
        x, _ = next(training.parts())
        rates = {module.p for module in training.model.modules() if isinstance(module, nn.Dropout)}
        seen.append((tuple(x.shape[2:]), rates))
    assert seen == [((6, 6), {0.05}), ((8, 8), {0.1}), ((8, 8), {0.1})]


def test_fp16_is_refused_on_the_cpu():
    with pytest.raises(InputError, match="fp16 needs a CUDA device"):
        task(replace(RECIPE, amp="fp16"))


# Logs


def test_the_table_has_each_epoch_once_however_often_the_training_was_stopped(tmp_path):
    for stop in (STEPS + 1, STEPS, 99):
        with Logs(tmp_path) as logs:
            trained = run(tmp_path, logs=logs, should_stop=stop_after(stop))
    with (tmp_path / LOG).open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows == [pytest.approx(row) for row in trained.rows]
    assert [row["epoch"] for row in rows] == [1, 2, 3]


def test_tensorboard_has_each_epoch_once(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for stop in (STEPS + 1, 99):
        with Logs(tmp_path, tensorboard=True) as logs:
            trained = run(tmp_path, logs=logs, should_stop=stop_after(stop))
    events = EventAccumulator(str(tmp_path / EVENTS)).Reload().Scalars("select_accuracy")
    assert [event.step for event in events] == [1, 2, 3]
    assert [event.value for event in events] == pytest.approx(
        [row["select_accuracy"] for row in trained.rows]
    )


# Several processes


def share(rank, world, port, folder, recipe, stop, pipe):
    """One of several processes of a training; tells what it ends with."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with joined(CPU) as ranks:
        # A signal reaches one of them: all stop at the same step.
        mine = stop_after(stop) if rank == 1 else stop_after(999)
        trained = train_fully(task(recipe), folder, ranks=ranks, should_stop=mine)
        weights = {name: tensor.numpy() for name, tensor in (trained.last or {}).items()}
        pipe.send((known(trained), weights))


def taking_turns(rank, port, folder, failing, pipe):
    """One of two processes that prepare something; tells when it did, or what it ended with."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    made = folder / "made"

    def prepare():
        found = made.exists()
        if rank == failing:
            raise ValueError("no such data")
        time.sleep(0.3)
        made.touch()
        return found

    with joined(CPU) as ranks:
        try:
            pipe.send(ranks.in_turn(prepare))
        except (ValueError, InputError) as error:
            pipe.send(str(error))


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (None, [False, True]),
        (0, ["no such data", "the training cannot begin: another of its processes says why"]),
        (1, ["the training cannot begin: another of its processes says why", "no such data"]),
    ],
)
def test_the_first_process_prepares_before_the_others_and_a_failure_ends_all(tmp_path, failing, said):
    port = free_port()
    found = []
    for rank in range(2):
        mine, theirs = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=taking_turns, args=(rank, port, tmp_path, failing, theirs))
        process.start()
        theirs.close()
        found.append((process, mine))
    assert [mine.recv() if mine.poll(60) else "nothing" for _, mine in found] == said
    for process, _ in found:
        process.join(60)
        assert process.exitcode == 0


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def together(folder, recipe, world=2, stop=999):
    """Train with several processes and return what each of them ends with."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    found, started = [], []
    for rank in range(world):
        mine, theirs = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=share, args=(rank, world, port, folder, recipe, stop, theirs))
        process.start()
        theirs.close()
        started.append((process, mine))
    for process, mine in started:
        assert mine.poll(120)
        found.append(mine.recv())
        process.join(60)
        assert process.exitcode == 0
    return found


def test_two_processes_give_what_one_gives_and_agree_with_each_other(tmp_path):
    (tmp_path / "alone").mkdir()
    alone = train_fully(task(plain()), tmp_path / "alone")
    (first, weights), (second, others) = together(tmp_path / "two", plain())
    assert all(np.array_equal(weights[name], others[name]) for name in weights)
    assert first == second
    assert first.rows[-1]["train_loss"] == pytest.approx(alone.rows[-1]["train_loss"], rel=1e-4)
    for name, tensor in alone.last.items():
        np.testing.assert_allclose(weights[name], tensor.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_processes_that_are_stopped_continue_bit_for_bit(tmp_path):
    recipe = replace(RECIPE, accumulate=2, epochs=2)
    whole = together(tmp_path / "whole", recipe)
    stopped = together(tmp_path / "stopped", recipe, stop=STEPS + 1)
    assert [(one.status, one.steps) for one, _ in stopped] == [("interrupted", STEPS + 1)] * 2
    found = together(tmp_path / "stopped", recipe)
    parameters = dict(build(TINY).named_parameters())
    for (one, weights), (other, others) in zip(found, whole, strict=True):
        assert one == other
        assert all(np.array_equal(weights[name], others[name]) for name in parameters)
    assert all(np.array_equal(found[0][1][name], whole[0][1][name]) for name in whole[0][1])
    with pytest.raises(InputError, match="processes: 2 there, 1 here"):
        train_fully(task(recipe), tmp_path / "stopped")
