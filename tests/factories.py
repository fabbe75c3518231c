"""Trial records with real networks and costs, and with the accuracies that a test asks for."""

from dataclasses import replace
from functools import cache

from scalesearch.architecture.budget import Budget, fit
from scalesearch.architecture.document import from_document
from scalesearch.architecture.proxy import ProxyPolicy, make_proxy
from scalesearch.architecture.scaling import Coefficients
from scalesearch.outcome import Outcome
from scalesearch.search.records import Member, TrialRecord

BASE = {
    "name": "small",
    "resolution": 96,
    "stem": {"channels": 16},
    "stages": [
        {"operator": "fused_mbconv", "channels": 24, "repeats": 2, "stride": 2, "kernel": 3, "expand": 4},
        {"operator": "mbconv", "channels": 48, "repeats": 3, "stride": 2, "kernel": 5, "expand": 6},
    ],
}
BUDGET = 1e8
MARKER = "window.hostile=1"  # what a script leaves behind that ran
# Names that try to be markup, for HTML and for Plotly's own pseudo-HTML and templates.
HOSTILE = (
    f"<script>{MARKER}</script>",
    f"<img src=x onerror={MARKER}>",
    f"</script><script>{MARKER}</script>",
    f"<svg onload={MARKER}>",
    "<!--<script>",
    '"><b>bold</b>',
    "<a href='https://example.org'>link</a>",
    "%{x} ${title} $title &amp; {{x}}",
)


@cache
def _members() -> tuple[Member, Member]:
    base = from_document(BASE)
    deployed = fit(base, Coefficients(), Budget(BUDGET))
    proxy = make_proxy(base, Coefficients(), ProxyPolicy(), flops=5e6, classes=10, data_resolution=32)
    return Member.of(deployed, Budget(BUDGET)), Member.of(proxy, Budget(5e6))


def trial(
    number: int = 0,
    accuracy: float | None = 0.5,
    *,
    flops: int | None = None,
    level: float | None = None,
    name: str | None = None,
    role: str = "search",
    **outcome,
) -> TrialRecord:
    """Return a trial; `flops` replaces the deployed network's cost, and without a level that is the level."""
    deployed, proxy = _members()
    if flops is not None:
        deployed = replace(deployed, flops=flops)
    if name is not None:
        deployed = replace(deployed, document={**deployed.document, "name": name})
    status = outcome.pop("status", "complete")
    loss = None if accuracy is None else 2 - accuracy
    return TrialRecord(
        number=number,
        role=role,
        level=level or deployed.flops,
        rung=0,
        params={},
        coefficients=Coefficients(),
        deployed=deployed,
        proxy=proxy,
        outcome=Outcome(status=status, val_accuracy=accuracy, val_loss=loss, **outcome),
        key=f"key-{number}",
    )


def failed(number: int = 0, reason: str = "loss is not finite", **options) -> TrialRecord:
    """Return a failed trial."""
    return trial(number, None, status="failed", reason=reason, **options)


def report(trials, best: TrialRecord | None = None, **changes) -> dict:
    """Return the content of a report.json about these trials."""
    described = best and {
        "trial": best.number,
        "flops": best.deployed.flops,
        "params": best.deployed.params,
        "binding": best.deployed.binding,
        "classes": 10,
        "ties": [3, 4],
        "resolution": best.deployed.document["resolution"],
        "phi": best.deployed.phi,
        "coefficients": {"alpha": 1.2, "beta": 1.1, "gamma": 1.15},
        "network": "best/network.yaml",
        "realised": dict(zip(("depth", "width", "resolution"), best.deployed.realised, strict=True)),
        "proxy_accuracy": 0.612,
        "proxy_interval": [0.6, 0.624],
        "proxy_seeds": 3,
    }
    complete = sum(record.complete for record in trials)
    return {
        "budget_flops": BUDGET,
        "limits": {},
        "ended_by": "trials",
        "best": described,
        "trials": {
            "complete": complete,
            "pruned": 0,
            "failed": len(trials) - complete,
            "repeated": 0,
            "interrupted": 0,
        },
        "data": {
            "name": "digits",
            "train_images": 1437,
            "val_images": 180,
            "fingerprint": "0123456789abcdef",
        },
        "seconds": 61.0,
        "versions": {"torch": "2.13.0"},
    } | changes
