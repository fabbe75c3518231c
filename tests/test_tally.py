"""What a driver keeps up to date of its trainings is what a look through all of them would say."""

import random
from dataclasses import replace

from factories import failed, trial

from scalesearch.search.selection import ranked
from scalesearch.search.tally import Tally

LEVELS = (1e8, 5e7)


def record(rng):
    """Return trainings in the order of their ends: failed ones, repeats, longer rungs, finals."""
    found, complete = [], []
    for number in range(40):
        made = failed if rng.random() < 0.2 else trial
        figures = {} if made is failed else {"accuracy": rng.random()}
        one = made(number, level=rng.choice(LEVELS), images=100, seconds=rng.random(), **figures)
        if complete and rng.random() < 0.2:
            one = replace(one, repeats=rng.choice(complete).number, key=complete[-1].key)
        found.append(one)
        complete += [one] if one.complete and one.repeats is None else []
        if complete and rng.random() < 0.3:
            chosen = complete.pop(rng.randrange(len(complete)))
            longer = trial(chosen.number, rng.random(), level=chosen.level)
            found.append(replace(longer, rung=1, key=f"{chosen.key}-longer"))
    return [*found, replace(found[-1], role="final")]


def test_every_answer_is_that_of_a_look_through_all_trainings():
    for seed in range(30):
        trials = record(random.Random(seed))
        for wanted in (0, 1, 3):
            tally = Tally(trials[:7], wanted)
            for count in range(8, len(trials) + 1):
                tally.add(trials[count - 1])
                check(tally, trials[:count], wanted)


def check(tally, trials, wanted):
    searched = [t for t in trials if t.role == "search"]
    assert list(tally.searched.values()) == searched
    assert tally.finalists == ranked(searched)[:wanted]
    assert tally.counted == sum(t.repeats is None for t in searched if t.rung == 0)
    own = [t for t in searched if t.repeats is None]
    assert all(tally.answer(t.key) is t for t in own)
    assert tally.answer("another") is None
    paced = [t.outcome for t in own if t.complete]
    seconds, images = sum(o.seconds for o in paced), sum(o.images for o in paced)
    expected = seconds / images * 500 if images else 0.0
    assert abs(tally.typical_seconds(500) - expected) < 1e-9
