"""Samplers: proposals inside the space, that repeat exactly, and that learn."""

import hashlib
import json
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from scalesearch.documents import load_space, space_from
from scalesearch.search.samplers import SAMPLERS, Proposer
from scalesearch.search.study import SamplerChoice

# Conditional leaves of every kind, and few of them, so that the model of `gp` is fitted in a moment.
ROW = {
    "operator": {"choice": ["mbconv", "shufflenet_v2"]},
    "channels": {"range": [16, 64], "step": 8},
    "repeats": {"range": [0, 3]},
    "stride": 2,
    "kernel": {"choice": [3, 5]},
    "expand": {"range": [1.0, 6.0], "log": True},
    "se": {"range": [0.0, 0.5], "step": 0.125},
}
SMALL = space_from(
    {
        "name": "small",
        "resolution": 32,
        "stem": {"channels": 16, "act": {"choice": ["relu", "silu"]}},
        "stages": [ROW | {"repeats": {"range": [1, 3]}, "act": {"same": "stem.act"}}, ROW],
        "head": {"channels": {"choice": [None, 64]}},
        "coefficients": {"growth": 2, "depth": {"range": [0.0, 1.0]}, "width": {"range": [0.0, 1.0]}},
    },
    "small",
)
LAG = 4
# A Gaussian process takes seconds where a machine is busy: it gets fewer proposals, and most of them random.
ASKS = dict.fromkeys(SAMPLERS, (30, 6)) | {"gp": (13, 6)}
SPACES = {"small": SMALL, "mixed": load_space("mixed")}


def result(number, params, objectives):
    """Stands in for a training: figures that depend on the values alone; every seventh one fails."""
    if number % 7 == 3:
        return None
    text = json.dumps(params, sort_keys=True).encode()
    return [1 + int(hashlib.sha256(text + bytes([n])).hexdigest()[:6], 16) / 16**6 for n in range(objectives)]


@cache
def propose(sampler, objectives=2, cuts=(), count=None, space="small", lag=LAG):
    """Return the record of a search that is cut off and taken up again before some of the numbers."""
    asks, startup = ASKS[sampler]

    def fresh():
        return Proposer(SPACES[space], sampler, startup, 5, ["minimize"] * objectives)

    proposer, events, results = fresh(), [], []
    for number in range(count or asks):
        if number in cuts:
            proposer = fresh()
            for event in json.loads(json.dumps(events)):
                proposer.restore(*event)
            for earlier in range(max(0, number - lag)):  # the last of them is told below
                proposer.tell(earlier, results[earlier])
        if number >= lag:
            proposer.tell(number - lag, results[number - lag])
        attempt = 0
        while True:
            _, params = proposer.ask(number, attempt)
            if attempt or number % 5 != 2:
                break
            proposer.discard(number)
            attempt += 1
        events.append([number, params, proposer.notes(number)])
        results.append(result(number, params, objectives))
    return events


@pytest.mark.parametrize(
    ("sampler", "objectives"), [(name, n) for name in SAMPLERS for n in (1, 2) if (name, n) != ("gp", 2)]
)
def test_a_restored_proposer_goes_on_as_if_it_had_not_been_cut_off(sampler, objectives):
    whole = propose(sampler, objectives)
    rng = random.Random(f"{sampler} {objectives}")
    cuts = (len(whole) - 2,) if sampler == "gp" else tuple(rng.sample(range(1, len(whole)), 3))
    assert propose(sampler, objectives, cuts) == whole, f"cut at {cuts}"


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_generations_survive_any_cut(sampler):
    """Parents are chosen when the first child is asked for: results that come later must not replace them."""
    whole = propose(sampler, 2, count=70, lag=12)
    chosen = [number for number, _, notes in whole if "study" in notes]
    assert len(chosen) == 2
    for cut in (chosen[0] + 1, chosen[0] + 11, chosen[1] + 1):
        assert propose(sampler, 2, (cut,), count=70, lag=12) == whole


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_lie_in_the_space_and_are_not_all_the_same(sampler):
    space = "small" if sampler == "gp" else "mixed"
    domains = SPACES[space].domains()
    events = propose(sampler, 2, space=space)
    for _, params, notes in events:
        values = params | notes.get("silent", {})
        assert all(domains[name].contains(value) for name, value in values.items())
        assert not params.keys() & notes.get("silent", {}).keys()
        assert not SAMPLERS[sampler].whole or values.keys() == domains.keys()
    assert len({json.dumps(params) for _, params, _ in events}) > len(events) / 2


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"gp"}))
def test_the_seed_moves_proposals_and_each_number_has_its_own(sampler):
    drawn = []
    for seed in (0, 1):
        proposer = Proposer(SMALL, sampler, 4, seed)
        drawn += [json.dumps(proposer.ask(number)[1]) for number in range(4)]
    assert len(set(drawn)) > 6


def test_a_sequence_of_low_discrepancy_fills_each_leaf_evenly():
    """Scrambled Sobol points: 32 in a row have 8 in every quarter of a leaf; random ones do not."""

    def quarters(sampler):
        proposer = Proposer(SMALL, sampler, 0, 3)
        drawn = [proposer.ask(number)[1]["coefficients.depth"] for number in range(34)][2:]
        return [sum(q <= 4 * value < q + 1 for value in drawn) for q in range(4)]

    assert all(abs(n - 8) <= 1 for n in quarters("qmc"))
    assert not all(abs(n - 8) <= 1 for n in quarters("random"))


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1), ("maximize", -1)])
@pytest.mark.parametrize("sampler", ["tpe", "tpe_univariate", "nsga2", "nsga3", "gp"])
def test_a_sampler_that_learns_goes_where_the_objective_is_good(sampler, direction, sign):
    """One objective, in either direction: what is good is a small share for depth."""
    count, startup = (12, 8) if sampler == "gp" else (70, 10)
    proposer = Proposer(SMALL, sampler, startup, 1, [direction])
    shares = []
    for number in range(count):
        _, params = proposer.ask(number)
        shares.append(params["coefficients.depth"])
        proposer.tell(number, [sign * shares[-1]])
    late = shares[startup:] if sampler == "gp" else shares[-20:]
    assert sum(late) / len(late) < 0.3


def test_proposals_do_not_depend_on_the_process():
    """A run is taken up by another process, in which sets have another order."""
    names = sorted(set(SAMPLERS) - {"gp"})
    code = f"import json, test_samplers as t; print(json.dumps([t.propose(n, 2) for n in {names}]))"
    here = Path(__file__).parent
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": f"{here}:{here.parent}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == json.loads(json.dumps([propose(name, 2) for name in names]))


def test_an_unknown_sampler_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"one of surrogate, tpe, tpe_univariate, nsga2.*got 'annealing'"):
        SamplerChoice("annealing")
