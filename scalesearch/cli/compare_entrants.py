"""The networks of a comparison: found, and scaled to one cost, each by its own rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scalesearch import documents
from scalesearch.architecture.budget import BAND, Budget, OverBudgetError, TooDeepError
from scalesearch.architecture.document import from_document, to_document
from scalesearch.architecture.network import Network
from scalesearch.architecture.proxy import ProxyPolicy, at_base_resolution, make_proxy
from scalesearch.architecture.rules import RULES
from scalesearch.errors import InputError
from scalesearch.search.proposals import key_of
from scalesearch.search.records import TrialRecord
from scalesearch.search.selection import ranked
from scalesearch.search.store import load_trials

COMPOUND, WIDTH = "efficientnet", "width"
FOUND, GIVEN = "found", "given"  # rules of networks that nothing is done to

# The families that their authors scale by a width multiplier alone at a fixed resolution.
BY_WIDTH = {
    "mobilenet": "Howard et al. 2017, section 3.3; Sandler et al. 2018, section 4",
    "shufflenet": "Zhang et al. 2018, section 3.3; Ma et al. 2018, section 3",
}


@dataclass(frozen=True)
class Entrant:
    """A network that takes part in a comparison.

    Attributes:
        rule: by which it came to its cost. source: of the rule, in words.
        share: its cost over the cost of the comparison, at most 1.
        realised: its multipliers (depth, width, resolution) over its base at the recipe's resolution and
            stride plan. phi, repair, clamped: as in `budget.Fit`.
    """

    name: str
    network: Network
    rule: str
    source: str
    share: float
    realised: tuple[float, float, float]
    phi: float
    repair: tuple[str, ...]
    clamped: bool

    @property
    def in_band(self) -> bool:
        """Whether it costs as much as the others, rounding aside."""
        return self.share >= BAND


@dataclass(frozen=True)
class Terms:
    """What all networks of a comparison share: the recipe's policy, the data's classes and side in pixels."""

    policy: ProxyPolicy
    classes: int
    resolution: int


def entrants(named: Sequence[str], terms: Terms) -> list[Entrant]:
    """Return the networks that are named, each RUN, RUN:TRIAL, NETWORK or NETWORK@RULE.

    Raises InputError where one is not to be had, does not fit the data, or is another's twin.
    """
    found = [_entrant(name, terms) for name in named]
    if len(found) < 2:
        raise InputError(f"a comparison takes at least two networks: give --with besides {named[0]}")
    seen: dict[str, str] = {}
    for one in found:
        key = key_of(to_document(one.network), None, 0, "", 0)
        if key in seen:
            raise InputError(f"networks of a comparison differ, but {seen[key]} and {one.name} are the same")
        seen[key] = one.name
    names = [one.name for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"networks of a comparison have names of their own, but {twice[0]} stands twice")
    return found


def _entrant(name: str, terms: Terms) -> Entrant:
    folder, colon, number = name.rpartition(":")
    if Path(name).is_dir():
        return _found(Path(name), None, terms)
    if colon and number.isdecimal() and Path(folder).is_dir():
        return _found(Path(folder), int(number), terms)
    document, at, rule = name.rpartition("@")
    return _scaled(document, rule, terms) if at else _scaled(name, None, terms)


# Networks that a search has found


def _found(folder: Path, number: int | None, terms: Terms) -> Entrant:
    trial = _trial(folder, number)
    name, proxy = f"{folder.resolve().name}:{trial.number}", trial.proxy
    network = replace(from_document(proxy.document), name=name)
    limit = proxy.flops / proxy.share
    if abs(limit / terms.policy.flops - 1) > 1e-6:
        raise InputError(
            f"{name} stands for a proxy of {limit:,.0f} multiply-accumulates, but the recipe compares at "
            f"{terms.policy.flops:,.0f}: give the search's own --recipe"
        )
    if network.classes != terms.classes or max(network.input.size) > terms.resolution:
        raise InputError(
            f"{name} is for {network.classes} classes at {max(network.input.size)} px, but the data have "
            f"{terms.classes} at {terms.resolution}"
        )
    shares = trial.coefficients
    source = (
        f"the search's own proxy, alpha {shares.alpha:.3g}, beta {shares.beta:.3g}, gamma {shares.gamma:.3g}"
    )
    return Entrant(
        name, network, FOUND, source, proxy.share, proxy.realised, proxy.phi, proxy.repair, proxy.clamped
    )


def _trial(folder: Path, number: int | None) -> TrialRecord:
    trials = load_trials(folder)
    if number is None:
        if not (best := ranked(trials)):
            raise InputError(f"{folder}: no candidate of this run completed a training, so it has no best")
        return best[0]
    own = [trial for trial in trials if trial.number == number]
    if not own:
        raise InputError(
            f"{folder} has {len({t.number for t in trials})} trials, but none of number {number}"
        )
    return own[0]


# Networks of documents


def _scaled(name: str, rule: str | None, terms: Terms) -> Entrant:
    base = documents.load(name)
    if base.dims != 2 or base.in_channels != 3:
        raise InputError(f"trainings are on colour images, but {base.name} is for others")
    label = base.name if rule is None else f"{base.name}@{rule}"
    policy = terms.policy
    small = at_base_resolution(base, policy, terms.classes, terms.resolution)
    share = Budget(policy.flops).share(small)
    if rule is None and BAND <= share <= 1:
        same = (1.0, 1.0, 1.0)
        given = replace(small, name=label)
        return Entrant(label, given, GIVEN, "it has this cost already", share, same, 0.0, (), clamped=False)
    return _by_rule(base, label, rule, terms)


def _by_rule(base: Network, label: str, rule: str | None, terms: Terms) -> Entrant:
    named, source = own_rule(base.name) if rule is None else _named_rule(rule)
    flops = terms.policy.flops
    try:
        fit = make_proxy(
            base,
            RULES[named].coefficients,
            terms.policy,
            flops=flops,
            classes=terms.classes,
            data_resolution=terms.resolution,
        )
    except OverBudgetError as error:
        raise InputError(
            f"{label}: the smallest member of its family costs {error.share * flops:,.0f} "
            f"multiply-accumulates, but the recipe compares at {flops:,.0f}"
        ) from error
    except TooDeepError as error:
        raise InputError(f"{label}: {error}") from error
    network = replace(fit.network, name=label)
    return Entrant(label, network, named, source, fit.share, fit.realised, fit.phi, fit.repair, fit.clamped)


def own_rule(name: str) -> tuple[str, str]:
    """Return the rule by which a network's authors scale it, by its family's name, and the rule's source.

    EfficientNet's for families that are not known.
    """
    for family, source in BY_WIDTH.items():
        if name.startswith(family):
            return WIDTH, source
    return COMPOUND, RULES[COMPOUND].source


def _named_rule(rule: str) -> tuple[str, str]:
    if rule not in RULES:
        raise InputError(f"a network's rule is one of {', '.join(RULES)}, but got {rule!r}")
    return rule, RULES[rule].source
