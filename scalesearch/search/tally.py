"""What a driver knows of its run's finished trainings, kept up to date as they end.

Each question is answered without a look through all of them: a run of thousands asks with every decision.
"""

from __future__ import annotations

from collections.abc import Iterable

from scalesearch.search.records import TrialRecord
from scalesearch.search.selection import ranked


class Tally:
    """The finished trainings of a run.

    Attributes:
        searched: the search's, by number and rung. finals: re-trainings of the finalists.
        counted: candidates that count towards a limit, complete and failed ones that are no repeats.
        finalists: the best so many candidates, best first.
    """

    def __init__(self, finished: Iterable[TrialRecord], finalists: int) -> None:
        self.searched: dict[tuple[int, int], TrialRecord] = {}
        self.finals: list[TrialRecord] = []
        self.counted, self._wanted = 0, finalists
        self._by_key: dict[str, TrialRecord] = {}
        self._images, self._seconds = 0, 0.0  # of complete trainings
        for trial in finished:
            self._take(trial)
        self.finalists = self._best(self.searched.values())

    def add(self, trial: TrialRecord) -> None:
        """Take in a training that has just ended."""
        self._take(trial)
        # A result raises its own candidate alone: who was not among the best does not come back.
        self.finalists = self._best((*self.finalists, trial))

    def answer(self, key: str) -> TrialRecord | None:
        """Return the search's training of this key, or None where it has none."""
        return self._by_key.get(key)

    def typical_seconds(self, images: int) -> float:
        """Return what a training on so many images takes at the mean pace so far; 0 before the first."""
        return self._seconds / self._images * images if self._images else 0.0

    def _take(self, trial: TrialRecord) -> None:
        if trial.role == "final":
            self.finals.append(trial)
            return
        self.searched[trial.number, trial.rung] = trial
        if trial.repeats is not None:
            return
        self._by_key.setdefault(trial.key, trial)
        self.counted += trial.rung == 0
        if trial.complete:
            self._images += trial.outcome.images
            self._seconds += trial.outcome.seconds

    def _best(self, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
        return ranked(trials)[: self._wanted]
