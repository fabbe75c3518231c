"""The least and the greatest cost of a space are exact: brute force over small spaces finds the same."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from spaces import random_document

from scalesearch.architecture.budget import (
    ANY_RESOLUTION,
    LOWEST_PHI,
    Budget,
    OverBudgetError,
    _shrunk,
    fit,
)
from scalesearch.architecture.domains import Choice
from scalesearch.architecture.extremes import extremes, least
from scalesearch.architecture.polynomials import MEASURES
from scalesearch.architecture.sampling import Sampler
from scalesearch.documents import load_space, space_from
from scalesearch.errors import InputError

MIXED = load_space("mixed")
CLASSES = 7
MOST_BASES = 1_000
FREE = ("act", "drop_path", "dropout")  # leaves that change no cost


def every_value(domain):
    """The values of a domain; of a range of any number its ends."""
    if isinstance(domain, Choice):
        return domain.values
    if len(domain) == 1:
        return (domain.low, domain.high)
    step = domain.step or 1
    return tuple(domain.low + index * step for index in range(len(domain)))


def all_candidates(space, more=()):
    """Draw every combination of the leaves' values once; `more` gives further values by leaf."""
    prefix, further = [], dict(more)
    while prefix is not None:
        asked = []

        def suggest(name, domain, prefix=prefix, asked=asked):
            options = every_value(domain) if name.rsplit(".", 1)[-1] not in FREE else every_value(domain)[:1]
            options = (*options, *further.get(name, ()))
            chosen = prefix[len(asked)] if len(asked) < len(prefix) else 0
            asked.append((chosen, len(options)))
            return options[chosen]

        yield space.draw(suggest)
        while asked and asked[-1][0] + 1 == asked[-1][1]:
            asked.pop()
        prefix = [*(chosen for chosen, _ in asked[:-1]), asked[-1][0] + 1] if asked else None


def thinned(node, rng):
    """A part of a random document with fewer free leaves, and with few values where they are free."""
    if isinstance(node, list):
        return [thinned(child, rng) for child in node]
    if not isinstance(node, dict) or "same" in node:
        return node
    if not node.keys() & {"choice", "range"}:
        return {name: thinned(child, rng) for name, child in node.items()}
    values = node.get("choice") or [*node["range"]]
    if node == {"range": [1.0, 6.0], "log": True}:
        values = [1.0, 1.04, 6.0]  # the other ends of what a step between them does
    few = [values[i] for i in sorted(rng.permutation(len(values))[: int(rng.integers(1, 4))])]
    return few[0] if rng.random() < 0.4 else {"choice": few}


SHARES = {"depth": {"choice": [0.0, 0.02, 1.0]}, "width": {"choice": [0.0, 0.5]}}


def small_spaces(seed, count, rows=4, most=MOST_BASES, coefficients=()):
    """Yield random spaces of few candidates, each with all of them."""
    rng = np.random.default_rng(seed)
    while count:
        document = random_document(rng)
        document = thinned(document | {"stages": document["stages"][:rows], "coefficients": {}}, rng)
        try:
            space = space_from(document | {"coefficients": dict(coefficients)}, "random")
        except InputError:  # an option of an operator that is gone, or no stage that must be there
            continue
        drawn = list(islice(all_candidates(space), most + 1)) if space.bases() < 100 * most else ()
        if 1 < len(drawn) <= most:
            count -= 1
            yield space, drawn


def costs(networks):
    found = [replace(network, classes=CLASSES).cost() for network in networks]
    return np.array([[getattr(cost, name) for name in MEASURES] for cost in found])


def figures(cost):
    return [getattr(cost, name) for name in MEASURES]


@pytest.mark.parametrize("seed", range(4))
def test_extremes_are_those_of_all_bases(seed):
    for space, drawn in small_spaces(seed, 12):
        found = costs([candidate.base for candidate in drawn])
        lowest, highest = extremes(space, CLASSES)
        assert figures(lowest) == found.min(axis=0).tolist()
        assert figures(highest) == found.max(axis=0).tolist()


def floor(candidate, measure):
    """The least that `fit` can take a candidate down to: the lowest member, or what shrinking it ends at."""
    lowest = replace(ANY_RESOLUTION.clamp(candidate.at(LOWEST_PHI)), classes=CLASSES)
    with pytest.raises(OverBudgetError) as shrunk:
        _shrunk(lowest, Budget(**{measure: 1}).share, ANY_RESOLUTION)
    return min(int(shrunk.value.share), getattr(lowest.cost(), measure))


def fits(candidate, flops):
    try:
        fit(replace(candidate.base, classes=CLASSES), candidate.coefficients, Budget(flops))
    except OverBudgetError:
        return False
    return True


@pytest.mark.parametrize("seed", range(3))
def test_the_least_budget_is_what_some_candidate_can_be_fitted_to(seed):
    for space, drawn in small_spaces(seed, 4, 2, 300, SHARES):
        lowest = least(space, CLASSES)
        for measure in MEASURES:
            floors = [floor(candidate, measure) for candidate in drawn]
            figure, best = min(floors), drawn[int(np.argmin(floors))]
            assert getattr(lowest, measure) == figure
            if measure == "flops":  # those of a family always grow with phi, as `fit` wants it
                assert fits(best, figure)
                assert not fits(best, figure - 1)


def point(**changes):
    """A space of one base with a row of a fused convolution, and what a test changes."""
    row = {"operator": "fused_mbconv", "channels": 40, "repeats": 2, "kernel": 3}
    document = {"name": "point", "resolution": 32, "stem": {"channels": 16}, "coefficients": {}}
    return document | {"stages": [row | changes.pop("row", {})]} | changes


def test_an_expansion_of_any_number_is_not_taken_at_its_ends_alone():
    space = space_from(point(row={"expand": {"range": [1.0, 1.2]}, "channels": 240, "repeats": 1}), "point")
    many = [*np.linspace(1, 1.2, 801), *(1 + 0.5 / width for width in (16, 240))]
    found = costs([candidate.base for candidate in all_candidates(space, {"stages.0.expand": many})])
    lowest, highest = extremes(space, CLASSES)
    assert figures(lowest) == found.min(axis=0).tolist()
    assert figures(highest) == found.max(axis=0).tolist()
    assert found.min(axis=0)[0] < found[:2, 0].min()  # found[:2] are the ends


def test_a_share_of_growth_between_the_ends_can_be_the_lowest():
    # All growth to depth ends at 10 px, for 38 leave 2 over a multiple of 4; none leaves the repeats.
    coefficients = {"growth": 1.02, "depth": {"range": [0.0, 1.0]}, "width": 0.5}
    space = space_from(point(resolution=38, row={"repeats": 3}, coefficients=coefficients), "point")
    drawn = all_candidates(space, {"coefficients.depth": np.linspace(0, 1, 201)})
    floors = [floor(candidate, "flops") for candidate in drawn]
    assert least(space, CLASSES).flops == min(floors) < min(floors[:2])  # floors[:2] are the ends


def test_a_width_that_lies_below_its_rounding_grid_may_stay_where_width_does_not_scale():
    document = point(stem={"channels": 4}, row={"channels": 4}, head={"channels": None})
    growing = space_from(document | {"coefficients": {"width": 0.5}}, "point")
    fixed = space_from(document | {"coefficients": {"width": 0}}, "point")
    assert least(fixed, CLASSES).params < least(growing, CLASSES).params
    (candidate,) = all_candidates(fixed)
    assert least(fixed, CLASSES).params == floor(candidate, "params")


@pytest.mark.parametrize("name", ["mixed", "video"])
def test_no_draw_of_a_large_space_lies_outside_its_extremes(name):
    space, rng = load_space(name), np.random.default_rng(0)
    lowest, highest = extremes(space, 1000)
    found = np.stack(figures(Sampler(space).draw(rng, 20_000).bases.cost()), axis=1)
    assert (found >= figures(lowest)).all()
    assert (found <= figures(highest)).all()
    assert (np.array(figures(least(space, 1000))) <= figures(lowest)).all()


def test_the_least_of_the_default_space_is_found_by_descent_too():
    # Changing one leaf at a time from the first values until nothing helps ended at this many.
    assert MIXED.least(1).flops == 3548
    assert MIXED.least(10).flops == 3672


def test_a_space_whose_ties_couple_too_much_is_refused():
    width = {"range": [8, 2007]}
    rows = [{"operator": "mbconv", "channels": width, "repeats": 1} for _ in range(2)]
    rows += [row | {"channels": {"same": f"stages.{i}.channels"}} for i, row in enumerate(rows)]
    space = space_from(point(stages=rows), "point")
    with pytest.raises(InputError, match=r"at most 10,000 .* stages.0.channels, stages.1.channels have 4,"):
        space.least()
