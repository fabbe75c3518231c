"""Thousands of trial records of networks that all differ, for pages that are as large as they get."""

from dataclasses import replace

import numpy as np

from scalesearch import documents
from scalesearch.architecture.budget import Budget, UnfitError
from scalesearch.outcome import Outcome
from scalesearch.search.records import Member, TrialRecord
from scalesearch.search.samplers import random_candidate

BUDGET = 2e9


def records(count: int, drawn: int) -> list[TrialRecord]:
    """Return trials of networks from the default space; all but the first `drawn` are variations of those.

    A variation has widths, costs, drawn numbers and a learning curve of its own, as another draw would.
    """
    rng, space = np.random.default_rng(0), documents.load_space("mixed")
    policy, found = documents.load_recipe("proxy").proxy, []
    while len(found) < min(count, drawn):
        candidate, params = random_candidate(space, rng)
        try:
            deployed, proxy = candidate.deployed(Budget(BUDGET)), candidate.proxy(policy, 1e7, 10, 32)
        except UnfitError:
            continue
        members = Member.of(deployed, Budget(BUDGET)), Member.of(proxy, Budget(1e7))
        found.append((candidate.coefficients, params, *members))
    return [_record(number, found[number % len(found)], rng) for number in range(count)]


def _record(number: int, drawn: tuple, rng: np.random.Generator) -> TrialRecord:
    coefficients, params, deployed, proxy = drawn
    accuracy = float(rng.uniform(0.4, 0.7))
    curve = tuple((400 * step, float(2.3 - step / 50 * rng.uniform(0.5, 1))) for step in range(1, 51))
    seconds = float(rng.uniform(10, 30))
    return TrialRecord(
        number=number,
        role="search",
        level=BUDGET / (1, 2, 4, 8)[number % 4],
        rung=0,
        params={name: _other(value, rng) for name, value in params.items()},
        coefficients=replace(coefficients, alpha=float(rng.uniform(1, 2)), beta=float(rng.uniform(1, 2))),
        deployed=_varied(deployed, rng),
        proxy=_varied(proxy, rng),
        outcome=Outcome("complete", None, accuracy, 2 - accuracy, accuracy, 1.0, curve, 20_000, 1, seconds),
        key=str(number),
        started=1e9 + 10 * number,
        finished=1e9 + 10 * number + seconds,
        worker=number % 2,
    )


def _other(value: object, rng: np.random.Generator) -> object:
    return float(value * rng.uniform(0.9, 1.1)) if isinstance(value, float) else value


def _varied(member: Member, rng: np.random.Generator) -> Member:
    stages = [
        stage | {"channels": stage["channels"] + 8 * int(rng.integers(0, 16))}
        for stage in member.document["stages"]
    ]
    share = rng.uniform(0.97, 1)
    costs = {name: int(getattr(member, name) * share) for name in ("flops", "params", "activations")}
    multipliers = tuple(float(one * rng.uniform(0.95, 1.05)) for one in member.realised)
    document = member.document | {"stages": stages}
    return replace(member, document=document, realised=multipliers, phi=member.phi * share, **costs)
