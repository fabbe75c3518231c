"""The trials as the page's script sees them: one entry a candidate, plain JSON types, no NaN."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import ceil, isfinite
from typing import Any

from scalesearch.dashboard.describe import belonging, level_text, one_line, pattern_text
from scalesearch.dashboard.folding import fold
from scalesearch.dashboard.panels.context import Finalist
from scalesearch.dashboard.sizes import Sizes
from scalesearch.search.records import Member, TrialRecord

DIGITS = 6  # of numbers that are shown with three; the table of trials has them all
CURVE_POINTS = 60_000  # on a page, over all learning curves
FEWEST_POINTS = 8  # of one curve

YamlOf = Callable[[Mapping[str, Any]], str]

_NETWORK_PARTS = ("stem", "stages", "head")
_WORD = re.compile(r"(?!(?:true|false|null)\Z)[a-z][a-z0-9_]{0,39}", re.ASCII)
_text = lru_cache(maxsize=100_000)(one_line)


def entries(
    trials: Sequence[TrialRecord],
    finalists: Sequence[Finalist],
    yaml_of: YamlOf,
    run: int = 0,
    several: bool = False,
    budget: float | None = None,
) -> list[dict[str, Any]]:
    """Return an entry for each candidate, in the order of their numbers, with its trainings inside.

    What an entry says of status, accuracy, loss and time is that of the candidate's longest complete search
    training, or of its longest where none is complete.

    Args:
        trials: of one run.
        finalists: its candidates with repeated trainings.
        yaml_of: writes a network's document; most are so plain that the page's script writes them itself
            (assets/network_yaml.js), which takes less room and time.
        run: its number among those of the page.
        several: whether the page has several, so that a key has to name the run.
        budget: in multiply-accumulates, for the words about levels.
    """
    trainings: dict[int, list[TrialRecord]] = {}
    for trial in trials:
        trainings.setdefault(trial.number, []).append(trial)
    repeated = {one.number: one for one in finalists}
    sizes = Sizes()
    most = max(FEWEST_POINTS, CURVE_POINTS // max(1, len(trials)))
    found = []
    for number in sorted(trainings):
        own = sorted(trainings[number], key=lambda one: (one.role != "search", one.rung))
        entry = {"key": f"{run}:{number}" if several else str(number), "run": run}
        entry |= _described(_standing(own), budget) | {"trainings": [_training(one, most) for one in own]}
        found.append(entry | _network(own[0], repeated.get(number), sizes, yaml_of))
    return found


def packed(data: Any) -> str:
    """Return JSON data without NaN for the page's script: by column, compressed (gzip), as base64."""
    text = json.dumps(fold([data]), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # A lone surrogate is no text that UTF-8 could carry.
    return b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode("ascii")


def _standing(own: Sequence[TrialRecord]) -> TrialRecord:
    """Return the training that stands for a candidate: the longest complete one of the search."""
    search = [one for one in own if one.role == "search"] or own
    complete = [one for one in search if one.complete]
    return max(complete or search, key=lambda one: one.rung)


def _described(trial: TrialRecord, budget: float | None) -> dict[str, Any]:
    return {
        "number": trial.number,
        "name": _text(trial.deployed.document["name"]),
        "arm": trial.arm,
        "repeats": trial.repeats,
        "level": number(trial.level),
        "levelText": level_text(trial.level, budget),
        "share": number(trial.deployed.share),
        "binding": trial.deployed.binding,
        "pattern": pattern_text(trial.deployed.document),
        "belonging": belonging(trial),
        **_outcome(trial),
    }


def _outcome(trial: TrialRecord) -> dict[str, Any]:
    outcome = trial.outcome
    return {
        "status": outcome.status,
        "reason": None if outcome.reason is None else _text(outcome.reason, 300),
        "accuracy": _finite(outcome.val_accuracy),
        "loss": number(outcome.val_loss),
        "seconds": number(outcome.seconds),
        "worker": trial.worker,
        "started": _moment(trial.started),
        "finished": _moment(trial.finished),
    }


def _training(trial: TrialRecord, most: int) -> dict[str, Any]:
    place = {"role": trial.role, "rung": trial.rung, "images": trial.outcome.images}
    return place | _outcome(trial) | {"curve": thinned(trial.outcome.curve, most)}


def thinned(curve: Sequence[tuple[int, float]], most: int) -> list[list[float | None]]:
    """Return a learning curve of at most `most` points, each the mean of neighbours at the last of them."""
    each = ceil(len(curve) / most)
    groups = (curve[start : start + each] for start in range(0, len(curve), each or 1))
    return [[group[-1][0], number(sum(loss for _, loss in group) / len(group), 4)] for group in groups]


def _network(trial: TrialRecord, finalist: Finalist | None, sizes: Sizes, yaml_of: YamlOf) -> dict[str, Any]:
    document, coefficients = trial.deployed.document, trial.coefficients
    plain = _is_plain(document)
    stem, *stages = map(_side, sizes.of(document))
    return {
        "finalist": finalist and _finalist(finalist),
        "deployed": _member(trial.deployed),
        "proxy": _member(trial.proxy),
        "coefficients": [number(one) for one in (coefficients.alpha, coefficients.beta, coefficients.gamma)],
        "stages": [row | {"size": size} for row, size in zip(document["stages"], stages, strict=True)],
        "stem": document["stem"] | {"size": stem},
        "head": document.get("head", {}),
        "choices": {_text(leaf, 120): _value(value) for leaf, value in trial.params.items()},
        "document": {name: value for name, value in document.items() if name not in _NETWORK_PARTS}
        if plain
        else {},
        "yaml": None if plain else yaml_of(document),
    }


def _finalist(finalist: Finalist) -> dict[str, Any]:
    return {
        "accuracy": number(finalist.accuracy),
        "low": number(finalist.low),
        "high": number(finalist.high),
        "seeds": finalist.seeds,
    }


def _member(member: Member) -> dict[str, Any]:
    return {
        "flops": member.flops,
        "params": member.params,
        "activations": member.activations,
        "latency": number(member.latency),
        "resolution": member.document["resolution"],
        "realised": [number(one) for one in member.realised],
        "phi": number(member.phi),
        "repair": list(member.repair),
        "clamped": member.clamped,
    }


def _is_plain(document: Mapping[str, Any]) -> bool:
    """Return whether the page's script writes the document as YAML without knowing how to quote."""
    if tuple(document)[-3:] != _NETWORK_PARTS:
        return False
    mappings = (document["stem"], document["head"], document.get("norm", {}), *document["stages"])
    single = (value for name, value in document.items() if name not in (*_NETWORK_PARTS, "norm"))
    values = (value for mapping in mappings for value in mapping.values())
    keys = (key for mapping in (document, *mappings) for key in mapping)
    named = all(isinstance(key, str) and _WORD.fullmatch(key) for key in keys)
    return named and all(map(_is_plain_value, (*single, *values))) and all(mappings[:2])


def _is_plain_value(value: Any) -> bool:
    if value is None or isinstance(value, int):
        return True
    if isinstance(value, float):  # where Python and JavaScript write the same digits
        return not value.is_integer() and 1e-4 <= abs(value) < 1e15
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _side(size: tuple[int, ...] | None) -> int | list[int] | None:
    if size is None:
        return None
    return size[0] if len(set(size)) == 1 and len(size) == 2 else list(size)


def _value(value: Any) -> Any:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, bool | int) or value is None:
        return value
    return _text(str(value), 120)


def _moment(seconds: float) -> float | None:
    return round(seconds, 2) if isfinite(seconds) else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def number(value: float | None, digits: int = DIGITS) -> float | None:
    """Return a number to so many significant digits, None for one that is not finite."""
    if value is None or not isfinite(value):
        return None
    kept = float(f"{value:.{digits}g}")
    return kept if isfinite(kept) else value
