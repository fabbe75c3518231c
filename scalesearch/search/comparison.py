"""Whether the search is ahead of random draws of equal cost, and what more trials would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalesearch.errors import InputError

Floats = NDArray[np.float64]
Values = Sequence[float] | Floats

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two arms after the same number of trainings of equal cost.

    Attributes:
        images: (n,), cumulative training images.
        search, control: (n,), the lowest validation loss so far of each arm.
        difference: the control's final best loss less the search's: above 0 the search is ahead.
        top: number of best trainings of each arm that the test compares.
        top_difference: the control's mean loss over them less the search's.
        p: two-sided p-value of `top_difference` under exchanged arms.
    """

    images: NDArray[np.int64]
    search: Floats
    control: Floats
    difference: float
    top: int
    top_difference: float
    p: float

    def statement(self) -> str:
        """Say which arm is ahead, or that none is shown to be."""
        figures = f"(mean loss of the best {self.top}, p = {self.p:.2g}, n = {len(self.search)} each)"
        if self.p >= SIGNIFICANT:
            return f"no difference shown between the search and random draws {figures}"
        who = "the search is ahead of random draws"
        if self.top_difference < 0:
            who = "random draws are ahead of the search"
        best = f"best of each: {self.search[-1]:.4g} by the search, {self.control[-1]:.4g} by random draws"
        return f"{who} by {abs(self.top_difference):.3g} {figures}; {best}"


def compare_arms(
    search_losses: Values,
    control_losses: Values,
    *,
    images_each: int = 1,
    top: int | None = None,
    resamples: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Compare two arms by their validation losses in order of training, `images_each` images a training.

    The longer arm is cut to the length n of the other, for equal cost. The mean of the `top` lowest losses,
    max(1, n // 10) by default, is compared by a permutation test (Phipson and Smyth 2010, which counts
    the observed arms in). A failed training (nan or inf) counts as the worst loss of both arms.

    Raises:
        InputError: fewer than 2 trainings in an arm, none that succeeded, or a `top` outside 1..n.
    """
    n = min(len(search_losses), len(control_losses))
    top = max(1, n // 10) if top is None else top
    if n < 2 or not 1 <= top <= n:
        raise InputError(f"a comparison needs 2 trainings an arm and 1 <= top <= n, got n = {n}, top = {top}")
    both = _finite(np.concatenate([search_losses[:n], control_losses[:n]]))
    observed, p = exchanged_arms([both], top, resamples=resamples, seed=seed)
    search, control = (np.minimum.accumulate(arm) for arm in (both[:n], both[n:]))
    return Comparison(
        images=images_each * np.arange(1, n + 1, dtype=np.int64),
        search=search,
        control=control,
        difference=float(control[-1] - search[-1]),
        top=top,
        top_difference=observed,
        p=p,
    )


def exchanged_arms(
    runs: Sequence[Floats], top: int, *, resamples: int = 9999, seed: int = 0
) -> tuple[float, float]:
    """Return how far the search leads the control, mean over runs, and its p if arms were exchangeable.

    Two-sided, by a permutation test within each run (Phipson and Smyth 2010, which counts the observed
    arms in). Of each run `runs` has (2 n,) losses, the search's n first; what is compared is the mean of the
    `top` lowest of each arm.
    """
    rng = np.random.default_rng(seed)
    observed, drawn = 0.0, np.zeros(resamples)
    for both in runs:
        n = len(both) // 2
        observed += float(_lead(both[None], n, top)[0]) / len(runs)
        drawn += _lead(rng.permuted(np.tile(both, (resamples, 1)), axis=1), n, top) / len(runs)
    # Sums of the same losses in another order differ by rounding: they are as extreme, not less.
    extreme = np.abs(drawn) >= abs(observed) * (1 - 1e-9)
    return observed, (1 + int(extreme.sum())) / (1 + resamples)


def simple_regret(curve: Values, best_known: float) -> Floats:
    """Return how far each best loss so far lies above the best known: below 0 it has found a better."""
    return np.asarray(curve, dtype=np.float64) - best_known


def expected_best(losses: Values, draws: int) -> float:
    """Return the expected lowest loss of `draws` of these n trainings, drawn without replacement.

    The i-th lowest is the lowest of those drawn with probability C(n - i, draws - 1) / C(n, draws), exactly.
    A failed training (nan or inf) counts as the worst loss.

    Raises:
        InputError: `draws` outside 1..n, or no training that succeeded.
    """
    n = len(losses)
    if not 1 <= draws <= n:
        raise InputError(f"draws must be within 1 and the {n} trainings, got {draws}")
    # P(the i + 1 lowest are all left out), by the share of each further one that is left out.
    missed = np.cumprod(np.maximum(n - draws - np.arange(n), 0) / (n - np.arange(n)))
    chances = -np.diff(missed, prepend=1.0)
    return float(np.sort(_finite(np.asarray(losses, dtype=np.float64))) @ chances)


def regret_outlook(losses: Values) -> float:
    """Return what the last doubling of the trials brought: the outlook for another one.

    The expected best of half of the trials less the best of all. It holds for trials whose order does not
    matter (random draws); for a search that improves as it goes it is an estimate. Gains shrink as a rule, so
    the next doubling brings about as much or less.

    Raises:
        InputError: fewer than 2 trials, or none that succeeded.
    """
    if len(losses) < 2:
        raise InputError(f"an outlook needs at least 2 trials, got {len(losses)}")
    return expected_best(losses, len(losses) // 2) - expected_best(losses, len(losses))


def outlook(losses: Values) -> str:
    """Say what twice the trials would bring."""
    gain = regret_outlook(losses)
    return f"twice the {len(losses)} trials would lower the best loss by about {gain:.3g}, or less"


def _finite(losses: Floats) -> Floats:
    finite = np.isfinite(losses)
    if not finite.any():
        raise InputError(f"none of the {len(losses)} trainings succeeded")
    return np.where(finite, losses, losses[finite].max())


def _lead(both: Floats, n: int, top: int) -> Floats:
    """Return for each row (2 n) how far the second half's mean of the `top` lowest lies above the first's."""
    first, second = (np.partition(arm, top - 1)[:, :top].mean(1) for arm in (both[:, :n], both[:, n:]))
    return np.asarray(second - first)
