"""Which choices matter: the share of the variance of accuracy within a level that a leaf explains by itself.

Trials are sorted into groups by a leaf's value, and what the groups' means differ by is set against the rest:
a one-way analysis of variance (Fisher 1925, chapter VII), the main effect of functional ANOVA (Hutter, Hoos
and Leyton-Brown 2014) over the trials that were made. What only two leaves do together is not seen. Whether a
leaf was asked at all is another leaf's doing, an operator's or a stage's repeats, and is left to that one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalesearch.errors import InputError

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
Choices = Sequence[Mapping[str, Any]]

FEWEST_TRIALS = 24
FEWEST_OF_LEVEL = 4
FEWEST_ASKED = 8
BINS = 5
CATEGORIES = 8
TRIALS_PER_GROUP = 6
ERROR = 0.05
ABSENT = -1


@dataclass(frozen=True)
class Effect:
    """What a leaf explains: a share, in 0..1, of the variance within levels, with a 95 % interval.

    Attributes:
        asked: trials in which the leaf had a value. groups: into which its values were sorted.
        chance: the share beyond which a leaf is told from chance, so set that of 100 runs in which no leaf
            has an effect, 95 have no leaf beyond it.
    """

    leaf: str
    asked: int
    groups: int
    share: float
    low: float
    high: float
    chance: float

    @property
    def told(self) -> bool:
        """Whether the share is more than chance gives."""
        return self.share > self.chance


def usable(levels: Sequence[float]) -> NDArray[np.bool_]:
    """Return which of n trials can be compared: those with at least 3 others on their level."""
    found = Counter(levels)
    return np.array([found[level] >= FEWEST_OF_LEVEL for level in levels], dtype=bool)


def leaf_order(choices: Choices, accuracies: Sequence[float], levels: Sequence[float]) -> tuple[str, ...]:
    """Return the leaves by their share, the largest first; arguments and errors as `importance`."""
    table = _table(choices, accuracies, levels)
    shares = _fit(table, np.ones((1, table.n)), table.y[None]).share[0]
    return tuple(table.leaves[i] for i in np.argsort(-shares, kind="stable"))


def importance(
    choices: Choices,
    accuracies: Sequence[float],
    levels: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = 200,
) -> tuple[Effect, ...]:
    """Return the effects of all leaves, the largest share first; the same for the same arguments.

    The share is epsilon squared (Kelley 1935): 0 on average where there is no effect; a negative one is given
    as 0. Its interval is that of random halves of the trials, whose estimates scatter about that of all as
    that one does about the truth (Shao and Wu 1989). Chance comes from 2 * resamples permutations within
    levels, by the least p-value of all leaves (Westfall and Young 1993).

    Left out are trials on a level with fewer than 4, and leaves that were asked fewer than 8 times or had
    one value. No leaf is returned where the accuracies of each level are equal.

    Args:
        choices: (n) leaf to value; a leaf that was not asked is not in it.
        accuracies: (n) of trials that trained equally long on their level.
        levels: (n) that compare with each other alone.
        seed: of the resamples.
        resamples: of the interval; chance has twice as many.

    Raises:
        InputError: fewer than 24 trials that can be compared, or lengths that differ.
    """
    table = _table(choices, accuracies, levels)
    if not table.leaves:
        return ()
    rng = np.random.default_rng(seed)
    everyone = np.ones((1, table.n))
    whole = _fit(table, everyone, table.y[None])
    halves = _fit(table, *_halves(table, resamples, rng)).share
    least = _fit(table, everyone, _shuffled(table, 2 * resamples, rng)).p.min(axis=1)
    chance = whole.share_at(float(np.quantile(least, ERROR, method="lower")))[0]
    low, high = np.quantile(halves, [0.025, 0.975], axis=0)
    effects = [
        _effect(table, i, *(float(max(0.0, part[i])) for part in (whole.share[0], low, high, chance)))
        for i in range(len(table.leaves))
    ]
    return tuple(sorted(effects, key=lambda effect: -effect.share))


class _Table(NamedTuple):
    """Trials as arrays: accuracies about their level's mean, and every leaf's groups as columns of 0 and 1.

    `starts` are the first columns of each leaf: (n, groups of all leaves) `groups`, (n, leaves) `present`.
    """

    y: Floats
    level: Codes
    leaves: tuple[str, ...]
    groups: Floats
    present: Floats
    starts: Codes

    @property
    def n(self) -> int:
        return len(self.y)


class _Fit(NamedTuple):
    """One-way analyses of all leaves for r weightings of the trials: (r, leaves) each, `total` (r, 1).

    `extra` is the sum of squares between the values of those asked, `presence` that between asked and not.
    """

    total: Floats
    presence: Floats
    extra: Floats
    between: Floats
    within: Floats

    @property
    def noise(self) -> Floats:
        """Mean square within groups."""
        return np.asarray((self.total - self.presence - self.extra) / self.within)

    @property
    def share(self) -> Floats:
        """Epsilon squared."""
        return np.asarray((self.extra - self.between * self.noise) / self.total)

    @property
    def p(self) -> Floats:
        """The F test's p-value, exact under normality; here the common scale of leaves."""
        from scipy.stats import f

        with np.errstate(divide="ignore"):
            return np.asarray(f.sf(self.extra / self.between / self.noise, self.between, self.within))

    def share_at(self, p: float) -> Floats:
        """Return the share at which a leaf's p-value would be `p`."""
        from scipy.stats import f

        odds = self.between * f.isf(p, self.between, self.within)
        extra = odds * (self.total - self.presence) / (self.within + odds)
        return self._replace(extra=extra).share


def _fit(table: _Table, weights: Floats, y: Floats) -> _Fit:
    """Analyse `y` for each weighting; both (r or 1, n), weights 0 or 1, and y 0 where they are 0."""
    counts, sums = weights @ table.groups, y @ table.groups
    asked, asked_sum = weights @ table.present, y @ table.present
    size = weights.sum(axis=1, keepdims=True)
    per_leaf = _squares(counts, sums)
    of_values = np.add.reduceat(per_leaf, table.starts, axis=1)
    filled = np.add.reduceat((counts > 0).astype(float), table.starts, axis=1)
    absent = _squares(size - asked, y.sum(axis=1, keepdims=True) - asked_sum)
    presence = _squares(asked, asked_sum)
    levels = sum((weights[:, table.level == code].any(axis=1) for code in np.unique(table.level)), 0.0)
    between = np.maximum(filled - 1, 1)
    parameters = np.asarray(levels)[:, None] + between + (size > asked)
    return _Fit(
        total=np.maximum((y**2).sum(axis=1, keepdims=True), np.finfo(float).tiny),
        presence=presence + absent,
        extra=of_values - presence,
        between=between,
        within=np.maximum(size - parameters, 1),
    )


def _squares(counts: Floats, sums: Floats) -> Floats:
    return np.asarray(np.divide(sums**2, counts, out=np.zeros_like(sums), where=counts > 0.5))


def _table(choices: Choices, accuracies: Sequence[float], levels: Sequence[float]) -> _Table:
    if not len(choices) == len(accuracies) == len(levels):
        lengths = f"{len(choices)}, {len(accuracies)} and {len(levels)}"
        raise InputError(f"choices, accuracies and levels are of one length, but got {lengths}")
    keep = usable(levels)
    if keep.sum() < FEWEST_TRIALS:
        raise InputError(
            f"importance needs {FEWEST_TRIALS} trials or more, {FEWEST_OF_LEVEL} on a level, got {keep.sum()}"
        )
    rows = [row for row, kept in zip(choices, keep, strict=True) if kept]
    level = np.unique(np.asarray(levels)[keep], return_inverse=True)[1]
    y = _centred(np.ones((1, len(rows))), np.asarray(accuracies, dtype=np.float64)[None, keep], level)[0]
    leaves = dict.fromkeys(leaf for row in rows for leaf in row) if np.abs(y).max() > 1e-12 else {}
    coded = {leaf: _codes([row.get(leaf, _NOT_ASKED) for row in rows]) for leaf in leaves}
    return _columns(y, level, {leaf: codes for leaf, codes in coded.items() if _varies(codes)})


def _columns(y: Floats, level: Codes, coded: Mapping[str, Codes]) -> _Table:
    blocks = [(codes[:, None] == np.arange(codes.max() + 1)).astype(float) for codes in coded.values()]
    nothing = np.empty((len(y), 0))
    return _Table(
        y=y,
        level=level,
        leaves=tuple(coded),
        groups=np.hstack([nothing, *blocks]),
        present=np.hstack([nothing, *(block.sum(axis=1, keepdims=True) for block in blocks)]),
        starts=np.cumsum([0, *(block.shape[1] for block in blocks)])[:-1],
    )


_NOT_ASKED = object()


def _varies(codes: Codes) -> bool:
    asked = codes != ABSENT
    return bool(asked.sum() >= FEWEST_ASKED and len(np.unique(codes[asked])) > 1)


def _codes(values: Sequence[Any]) -> Codes:
    """Return (n,) groups from 0: numbers in bins of about equal counts, all else by value, or ABSENT."""
    most = len(values) // TRIALS_PER_GROUP
    number = np.array([isinstance(value, int | float) and not isinstance(value, bool) for value in values])
    codes = np.full(len(values), ABSENT, dtype=np.intp)
    if number.any():
        found = np.array([float(value) for value, is_one in zip(values, number, strict=True) if is_one])
        codes[number] = _binned(found, min(BINS, most))
    words = {i: _word(value) for i, value in enumerate(values) if not number[i] and value is not _NOT_ASKED}
    frequent = [word for word, _ in Counter(words.values()).most_common(min(CATEGORIES, most) - 1)]
    first = int(codes.max()) + 1
    for i, word in words.items():
        codes[i] = first + (frequent.index(word) if word in frequent else len(frequent))
    return codes


def _word(value: Any) -> str:
    """Return a text that differs where values do: the string "true" is not the boolean."""
    if isinstance(value, str):
        return f"={value}"
    plain = value is None or isinstance(value, bool)
    return repr(value) if plain else json.dumps(value, sort_keys=True, default=str)


def _binned(numbers: Floats, bins: int) -> Codes:
    values, codes = np.unique(numbers, return_inverse=True)
    if len(values) <= bins:
        return np.asarray(codes, dtype=np.intp)
    edges = np.unique(np.quantile(numbers, np.arange(1, bins) / bins))
    return np.unique(np.searchsorted(edges, numbers, side="right"), return_inverse=True)[1]


def _centred(weights: Floats, y: Floats, level: Codes) -> Floats:
    """Return y, (r, n), less the weighted mean of its level, and 0 where the weight is 0."""
    columns = (level[:, None] == np.arange(level.max() + 1)).astype(float)
    means = ((weights * y) @ columns) / np.maximum(weights @ columns, 1)
    return np.asarray(weights * (y - means @ columns.T))


def _halves(table: _Table, resamples: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return random halves of each level as weights of 0 and 1, and what is to be explained in each."""
    weights = np.zeros((resamples, table.n))
    for code in range(table.level.max() + 1):
        members = np.flatnonzero(table.level == code)
        half = np.arange(len(members)) < (len(members) + 1) // 2
        weights[:, members] = rng.permuted(np.tile(half, (resamples, 1)), axis=1)
    return weights, _centred(weights, table.y[None], table.level)


def _shuffled(table: _Table, times: int, rng: np.random.Generator) -> Floats:
    """Return (times, n) accuracies exchanged at random within their level."""
    y = np.tile(table.y, (times, 1))
    for code in range(table.level.max() + 1):
        members = np.flatnonzero(table.level == code)
        y[:, members] = rng.permuted(y[:, members], axis=1)
    return y


def _effect(table: _Table, i: int, share: float, low: float, high: float, chance: float) -> Effect:
    ends = [*table.starts.tolist(), table.groups.shape[1]]
    asked, groups = int(table.present[:, i].sum()), ends[i + 1] - ends[i]
    return Effect(table.leaves[i], asked, groups, share, min(low, share), max(high, share), chance)
