"""An evaluator without training: a formula of the network stands in for the landscape of a search.

The search's own parts run for real: processes, pipes, the record. Only what a training would return is
computed, so that a test can say what the right answer is.
"""

import hashlib
import json
import os
import signal
import time
from functools import partial

from scalesearch.architecture.document import from_document
from scalesearch.outcome import Outcome


def loss_of(document, seed):
    """A smooth part that a search can learn, and noise that depends on network and seed alone."""
    network = from_document(document)
    unnamed = {name: value for name, value in document.items() if name != "name"}
    text = json.dumps([unnamed, seed], sort_keys=True)
    noise = int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 16**6
    shuffles = sum(stage.operator == "shufflenet_v2" for stage in network.stages)
    return 1 + 0.2 * shuffles / len(network.stages) + 0.05 * noise


def evaluate(job, should_stop, on_progress, *, pause, jitter, fail):
    if fail and job.number in fail:
        action = fail[job.number]
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "nan":
            return Outcome("failed", "non-finite loss at image 64", seed=job.seed)
        raise RuntimeError(f"a broken\ntraining of {action}")
    loss = loss_of(job.network, job.seed)
    # Durations vary without a rule, as on a shared machine: results must not depend on them.
    end = time.monotonic() + pause + jitter * int.from_bytes(os.urandom(1)) / 255
    while time.monotonic() < end:
        if should_stop():
            return Outcome("interrupted", seed=job.seed)
        on_progress(job.images // 2)
        time.sleep(0.005)
    return Outcome(
        "complete",
        val_accuracy=1 - loss / 2,
        val_loss=loss,
        report_accuracy=0.9 - loss / 2,
        images=job.images,
        seconds=pause,
        seed=job.seed,
    )


def _make(settings):
    return partial(evaluate, **settings)


def make(pause=0.0, jitter=0.0, fail=None):
    """Return what builds the evaluator in a process."""
    return partial(_make, {"pause": pause, "jitter": jitter, "fail": fail})
