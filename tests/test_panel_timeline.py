"""The timeline and the failures: numbers by hand, and bounded pictures."""

import random
import time
from dataclasses import replace

import pytest
from factories import HOSTILE, failed, trial

from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.panels.failures import MOST_REASONS, failure_data, failures
from scalesearch.dashboard.panels.pauses import cut_pauses
from scalesearch.dashboard.panels.timeline import timeline
from scalesearch.dashboard.panels.timeline_data import (
    AGAIN,
    CONTROL,
    FAILED,
    MOST_BARS,
    Bar,
    Pause,
    merged,
    timeline_data,
)
from scalesearch.dashboard.panels.trust_data import trust_data

NOON = 1.8e9  # seconds since the epoch
DAY = 86400.0
CONTEXT = Context(rungs=(1000, 3000))


def timed(record, start, seconds, worker=0, **changes):
    return replace(record, started=NOON + start, finished=NOON + start + seconds, worker=worker, **changes)


def long_run(count=5000, workers=4, seed=0):
    rng = random.Random(seed)
    free = [0.0] * workers
    records = []
    for number in range(count):
        worker = min(range(workers), key=free.__getitem__)
        seconds = rng.uniform(1, 40)
        record = failed(number) if rng.random() < 0.1 else trial(number)
        arm = "control" if rng.random() < 0.3 else "search"
        records.append(timed(record, free[worker], seconds, worker, arm=arm, rung=rng.choice((0, 0, 1))))
        free[worker] += seconds
    return records


def texts(fig):
    return str(fig.to_plotly_json())


def test_bars_stand_where_and_for_as_long_as_their_trainings_ran():
    records = [
        timed(trial(1), 10, 30, worker=1),
        timed(trial(0), 0, 20),
        timed(failed(2), 20, 5),
        timed(trial(3), 25, 10, arm="control"),
        timed(trial(0), 40, 60, rung=1),
        timed(trial(0), 100, 50, role="final", rung=1),
        trial(4),  # says not when it ran
        timed(trial(5), 30, 0, repeats=0),
    ]
    data = timeline_data(records)
    assert data.bars == (
        Bar(0, 0, "rung 1", 0.0, 20.0),
        Bar(1, 1, "rung 1", 10.0, 30.0),
        Bar(2, 0, FAILED, 20.0, 5.0),
        Bar(3, 0, CONTROL, 25.0, 10.0),
        Bar(0, 0, "rung 2", 40.0, 60.0),
        Bar(0, 0, AGAIN, 100.0, 50.0),
    )
    assert data.kinds == ("rung 1", "rung 2", CONTROL, AGAIN, FAILED)
    assert (data.workers, data.span, data.busy) == ((0, 1), 150.0, 175.0)
    assert (data.pauses, data.repeated, data.unknown) == ((), 1, 1)


def test_a_pause_of_days_is_cut_out_and_said():
    records = [
        timed(trial(0), 0, 100),
        timed(trial(1), 0, 40, worker=1),
        timed(trial(2), 100 + 3 * DAY, 50),
        timed(trial(3), 150 + 4 * DAY, 50),
    ]
    data = timeline_data(records)
    assert [(bar.number, bar.start) for bar in data.bars] == [(0, 0), (1, 0), (2, 100), (3, 150)]
    assert data.pauses == (Pause(100.0, 3 * DAY), Pause(150.0, DAY))
    fig = timeline(records)
    assert "The run paused 2 times, 96 h 0 min together" in fig.layout.title.subtitle.text
    assert [note.text for note in fig.layout.annotations] == ["paused 72 h 0 min"]
    assert "pauses cut out" in fig.layout.xaxis.title.text


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], []),
        ([(0, 10), (60, 70)], []),  # 50 seconds are no pause
        ([(0, 10), (71, 80)], [(10, 71)]),
        ([(0, 100), (20, 30), (90, 95)], []),  # others ran meanwhile
        ([(0, 10_000), (10_150, 10_200)], []),  # 2 % of 10,050 seconds is more than 150
        ([(0, 10_000), (10_250, 10_300)], [(10_000, 10_250)]),
    ],
)
def test_pauses_are_long_beside_the_work(spans, expected):
    assert cut_pauses(spans) == expected


def test_all_panels_count_rungs_from_one():
    records = [timed(trial(n), 10 * n, 5) for n in range(4)]
    records += [replace(one, rung=1) for one in records[:3]]
    names = [trace.name for trace in timeline(records).data]
    assert names == ["rung 1", "rung 2"]
    assert list(failures(records)["by rung"].layout.yaxis.ticktext) == names
    assert [one.name for one in trust_data(records).comparisons] == ["rung 1 → rung 2"]


def test_merged_slices_keep_the_time_of_every_worker_and_kind():
    data = timeline_data(long_run())
    slices = merged(data)
    assert len(slices) <= MOST_BARS
    for worker in data.workers:
        for kind in data.kinds:
            own = sum(bar.seconds for bar in data.bars if (bar.worker, bar.kind) == (worker, kind))
            kept = sum(s.share * s.width for s in slices if (s.worker, s.kind) == (worker, kind))
            assert kept == pytest.approx(own)
    assert max(s.below + s.share for s in slices) == pytest.approx(
        1, abs=1e-6
    )  # never more than all the time
    assert {number for s in slices for number in s.numbers} == set(range(5000))


def test_a_training_over_several_stretches_has_its_share_in_each():
    data = timeline_data([timed(trial(0), 0, 6), timed(failed(1), 6, 2)])
    parts = [(s.kind, s.start, s.share, s.below) for s in merged(data, most=3)]
    # Three slices allow no three stretches, which would be four slices; one stretch is left.
    assert parts == [("rung 1", 0.0, 0.75, 0.0), (FAILED, 0.0, 0.25, 0.75)]
    parts = [(s.kind, s.start, s.share, s.below) for s in merged(data, most=4)]
    assert parts == [("rung 1", 0, 1, 0), ("rung 1", 2, 1, 0), ("rung 1", 4, 1, 0), (FAILED, 6, 1, 0)]


def test_bars_stand_for_trials_and_differ_by_more_than_colour():
    records = [timed(trial(7), 0, 30), timed(trial(7), 30, 90, rung=1), timed(failed(8), 0, 5, worker=1)]
    fig = timeline(records, context=CONTEXT)
    assert [list(trace.customdata) for trace in fig.data] == [[7], [7], [8]]
    assert [trace.name for trace in fig.data] == ["rung 1, 1,000 images", "rung 2, 3,000 images", "failed"]
    looks = {(trace.marker.color, trace.marker.pattern.shape) for trace in fig.data}
    assert len(looks) == len({shape for _, shape in looks}) == 3
    assert list(fig.layout.yaxis.ticktext) == ["worker 0", "worker 1"]
    assert fig.layout.xaxis.title.text.startswith("minutes")


@pytest.mark.parametrize("records", [long_run(), [replace(t, arm="search") for t in long_run(workers=64)]])
def test_5000_trainings_are_a_bounded_picture(records):
    begun = time.process_time()
    fig = timeline(records, context=CONTEXT)
    assert time.process_time() - begun < 2  # measured: 0.06 s
    assert sum(len(trace.x) for trace in fig.data) <= MOST_BARS
    assert all(trace.customdata is None for trace in fig.data)
    assert "too many to draw one by one" in fig.layout.title.subtitle.text
    assert fig.layout.height <= 640


def test_timeline_says_in_words_why_it_is_empty():
    assert "No training has ended yet." in texts(timeline([]))
    assert "No record says when it was" in texts(timeline([trial(0)]))


def test_reasons_and_fates_are_counted():
    records = [
        trial(0),
        replace(trial(0), rung=1),
        trial(1),
        failed(2, "out of memory"),
        failed(3, "loss is not finite"),
        failed(4, "out of\n memory"),
        replace(failed(5, "out of memory"), repeats=2),
        replace(failed(0, "loss is not finite"), rung=1, role="final"),
        trial(6, None, status="interrupted"),
    ]
    data = failure_data(records, (1000,))
    assert data.reasons == (("out of memory", 2), ("loss is not finite", 2))
    assert [(rung.rung, rung.images) for rung in data.rungs] == [(0, 1000), (1, None), (None, None)]
    assert data.rungs[0].fates == {
        "went on to a longer training": 1,
        "ended here": 1,
        "failed": 3,
        "repeated another's network": 1,
        "interrupted": 1,
    }
    assert data.rungs[1].fates == {"ended here": 1}
    assert data.rungs[2].fates == {"failed": 1}
    captions = {fig.layout.title.subtitle.text.split(". ")[0] for fig in failures(records).values()}
    assert captions == {
        "4 of 8 trainings failed; 1 more candidates repeated a network that was trained before; "
        "1 were interrupted and have no score"
    }


def test_failures_say_in_words_that_there_are_none():
    assert all("No training has ended yet." in texts(fig) for fig in failures([]).values())
    views = failures([trial(0), trial(1)])
    assert "None of 2 trainings failed." in texts(views["reasons"])
    assert sum(sum(trace.x) for trace in views["by rung"].data) == 2


def test_many_reasons_are_summed_up_and_all_failed_is_drawn():
    records = [failed(n, f"reason {min(n, 40)}") for n in range(5000)]
    begun = time.process_time()
    fig = failures(records)["reasons"]
    assert time.process_time() - begun < 2  # measured: 0.02 s
    bars, words = fig.data
    assert len(bars.x) == MOST_REASONS + 1
    assert sum(bars.x) == 5000
    assert words.text[0] == " 4,960 × reason 40"
    assert "29 other reasons" in words.text[-1]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_reasons_are_escaped(text):
    for fig in (*failures([failed(0, text + "x" * 500)]).values(), timeline([timed(failed(0, text), 0, 9)])):
        shown = texts(fig).replace(" 1 × ", "").replace("<br>", "").replace("<extra></extra>", "")
        assert "<" not in shown
    bars, words = failures([failed(0, text + "x" * 500)])["reasons"].data
    assert len(words.text[0]) < 120
    assert bars.hovertemplate is None  # %{x} in a reason is no placeholder
