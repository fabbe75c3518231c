"""Evaluators without training whose right answer is known: a surface over multipliers, a power law of cost.

They run in an engine of this process: what a session hands to its engine is all that they replace.
"""

import hashlib
import json
from functools import partial

from scalesearch.architecture.budget import realised_multipliers
from scalesearch.architecture.document import from_document
from scalesearch.outcome import Outcome
from scalesearch.search.directions import shares_of
from scalesearch.search.engines import Finished


def noise(job):
    """A number in [-1, 1] that depends on network and seed alone."""
    unnamed = {name: value for name, value in job.network.items() if name != "name"}
    text = json.dumps([unnamed, job.seed], sort_keys=True)
    return int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 16**6 * 2 - 1


def surface_loss(job, base, optimum, equal, size):
    """Least where depth, width and resolution have the shares `optimum` of the growth over `base`."""
    realised = realised_multipliers(from_document(base), from_document(job.network))
    off = [share - best for share, best in zip(shares_of(realised, equal), optimum, strict=True)]
    return 1 + 0.5 * sum(one**2 for one in off) + size * noise(job)


def law_loss(job, a, b, c, size):
    """An error of a C^-b + c; a family is told by its first operator."""
    network = from_document(job.network)
    factor = 1.2 if network.stages[0].operator == "fused_mbconv" else 1.0
    return (factor * a * network.cost().flops ** -b + c) * (1 + size * noise(job))


class Formula:
    """An engine that answers at once with the loss of a formula; it fails the jobs of the numbers `fail`."""

    def __init__(self, loss, fail, _workers, _make):
        self._loss, self._fail, self._job = loss, fail, None

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    @property
    def idle(self):
        return int(self._job is None)

    def submit(self, job):
        self._job = job

    def wait(self, _seconds):
        job, self._job = self._job, None
        return [] if job is None else [Finished(job.number, self._outcome(job), 0)]

    def stop(self):
        pass

    def _outcome(self, job):
        if job.number in self._fail:
            return Outcome("failed", "non-finite loss at image 64", seed=job.seed)
        found = self._loss(job)
        return Outcome("complete", val_accuracy=1 - found, val_loss=found, images=job.images, seed=job.seed)


def surface_engine(base, optimum, equal="flops", size=0.005, fail=()):
    """Return what makes the engine of a surface."""
    settings = {"base": base, "optimum": optimum, "equal": equal, "size": size}
    return partial(Formula, partial(surface_loss, **settings), fail)


def law_engine(a, b, c, size=0.01, fail=()):
    """Return what makes the engine of a power law."""
    return partial(Formula, partial(law_loss, a=a, b=b, c=c, size=size), fail)
