"""What every panel of a page may know besides the trials."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A published network at its exact cost in multiply-accumulates.

    It has no accuracy: a number trained otherwise is never drawn beside the search's.
    """

    name: str
    flops: int


@dataclass(frozen=True)
class Context:
    """The same facts for all panels of a page.

    Attributes:
        budget: multiply-accumulates of the deployed network, or None where there is none.
        best: the number of the chosen trial.
    """

    budget: float | None = None
    references: tuple[Reference, ...] = ()
    best: int | None = None


NOTHING_KNOWN = Context()
