"""Which worker trained what and when, as numbers: pauses cut out, and merged where there is too much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scalesearch.dashboard.describe import rung_text
from scalesearch.dashboard.panels.pauses import cut_pauses, without_pauses
from scalesearch.search.records import TrialRecord

CONTROL, AGAIN, FAILED, INTERRUPTED = "random control", "re-training", "failed", "interrupted"
AFTER_RUNGS = (CONTROL, AGAIN, FAILED, INTERRUPTED)
MOST_BARS = 1200  # beyond, a browser redraws too slowly
MOST_STRETCHES = 160  # of the axis, so that each is seen


@dataclass(frozen=True)
class Bar:
    """One training: seconds since the first start without the pauses, and how long it took."""

    number: int
    worker: int
    kind: str
    start: float
    seconds: float


@dataclass(frozen=True)
class Pause:
    """A time without any training that was cut out: where it was, and how many seconds it took."""

    at: float
    seconds: float


@dataclass(frozen=True)
class TimelineData:
    """What the picture shows, times ascending.

    Attributes:
        kinds: those there are, rungs first. span: seconds of the picture. busy: seconds of training, summed
            over workers. repeated, unknown: records left out, since another's training answered them, or
            since they do not say when they ran.
    """

    bars: tuple[Bar, ...]
    pauses: tuple[Pause, ...]
    kinds: tuple[str, ...]
    workers: tuple[int, ...]
    span: float
    busy: float
    repeated: int
    unknown: int


def kind_of(trial: TrialRecord) -> str:
    """Return what a training was: how it ended if not well, else what it was for."""
    if trial.outcome.status != "complete":
        return FAILED if trial.outcome.status == "failed" else INTERRUPTED
    if trial.role == "final":
        return AGAIN
    return CONTROL if trial.arm == "control" else rung_text(trial.rung)


def timeline_data(trials: Sequence[TrialRecord]) -> TimelineData:
    """Place every training that took time on the axis of its worker."""
    trained = [trial for trial in trials if trial.repeats is None]
    known = sorted((t for t in trained if t.finished > t.started > 0), key=lambda t: (t.started, t.number))
    cuts = cut_pauses((trial.started, trial.finished) for trial in known)
    first = known[0].started if known else 0.0
    starts = without_pauses([trial.started for trial in known], first, cuts).tolist()
    places = without_pauses([begin for begin, _ in cuts], first, cuts).tolist()
    pauses = [Pause(at, end - begin) for at, (begin, end) in zip(places, cuts, strict=True)]
    bars = [
        Bar(trial.number, trial.worker, kind_of(trial), start, trial.finished - trial.started)
        for trial, start in zip(known, starts, strict=True)
    ]
    return TimelineData(
        bars=tuple(bars),
        pauses=tuple(pauses),
        kinds=_ordered({bar.kind for bar in bars}),
        workers=tuple(sorted({bar.worker for bar in bars})),
        span=max((bar.start + bar.seconds for bar in bars), default=0.0),
        busy=sum(bar.seconds for bar in bars),
        repeated=len(trials) - len(trained),
        unknown=len(trained) - len(known),
    )


def _ordered(kinds: Iterable[str]) -> tuple[str, ...]:
    last = AFTER_RUNGS
    return tuple(sorted(kinds, key=lambda kind: (last.index(kind) + 1 if kind in last else 0, kind)))


@dataclass(frozen=True)
class Slice:
    """The trainings of one kind on one worker in a stretch of time.

    Attributes:
        start, width: of the stretch, seconds. share: of the stretch that they took. below: that other kinds
            took which are stacked under this one. numbers: of the trials, one for each training.
    """

    worker: int
    kind: str
    start: float
    width: float
    share: float
    below: float
    numbers: tuple[int, ...]


def merged(data: TimelineData, most: int = MOST_BARS) -> tuple[Slice, ...]:
    """Cut the axis into equal stretches, and return at most `most` slices where that is possible at all.

    A training that reaches over several stretches has its share in each.
    """
    stretches = min(most, MOST_STRETCHES)
    while True:
        cells = _cells(data.bars, data.span / stretches, stretches)
        if len(cells) <= most or stretches == 1:
            return _stacked(cells, data.kinds, data.span / stretches)
        stretches = max(1, stretches // 2)


Cells = dict[tuple[int, int, str], list[tuple[int, float]]]


def _cells(bars: Sequence[Bar], width: float, stretches: int) -> Cells:
    """Return trial numbers and seconds by worker, stretch and kind."""
    cells: Cells = defaultdict(list)
    for bar in bars:
        end = bar.start + bar.seconds
        for at in range(min(int(bar.start / width), stretches - 1), stretches):
            share = min(end, (at + 1) * width) - max(bar.start, at * width)
            if share <= 0:
                break
            cells[bar.worker, at, bar.kind].append((bar.number, share))
    return cells


def _stacked(cells: Cells, kinds: Sequence[str], width: float) -> tuple[Slice, ...]:
    slices = []
    below: dict[tuple[int, int], float] = defaultdict(float)
    for worker, at, kind in sorted(cells, key=lambda cell: (*cell[:2], kinds.index(cell[2]))):
        numbers, seconds = zip(*cells[worker, at, kind], strict=True)
        share = sum(seconds) / width
        slices.append(Slice(worker, kind, at * width, width, share, below[worker, at], numbers))
        below[worker, at] += share
    return tuple(slices)
