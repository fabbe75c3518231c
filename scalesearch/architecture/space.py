"""A search space: a network document with choices and ranges as leaves, and scaling coefficients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from scalesearch.architecture.budget import Budget, Fit, fit
from scalesearch.architecture.document import STAGE_FIELDS, from_document
from scalesearch.architecture.domains import (
    Choice,
    Domain,
    Path,
    Range,
    Same,
    Suggest,
    first_values,
    label,
)
from scalesearch.architecture.encoding import encode
from scalesearch.architecture.layers import Cost
from scalesearch.architecture.membership import Membership, membership
from scalesearch.architecture.network import Network
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.proxy import ProxyPolicy, make_proxy
from scalesearch.architecture.scaling import Coefficients, compound, with_valid_widths
from scalesearch.architecture.ties import leaf_at, root


@dataclass(frozen=True)
class Candidate:
    """A family of networks: a base and the coefficients that grow it."""

    base: Network
    coefficients: Coefficients

    def at(self, phi: float) -> Network:
        """Return the member at `phi`."""
        return compound(self.base, self.coefficients, phi)

    def deployed(self, budget: Budget) -> Fit:
        """Return the member fitted to `budget`; UnfitError where there is none."""
        return fit(self.base, self.coefficients, budget)

    def proxy(self, policy: ProxyPolicy, flops: float, classes: int, data_resolution: int) -> Fit:
        """Return the small member that is trained in the family's place."""
        return make_proxy(
            self.base,
            self.coefficients,
            policy,
            flops=flops,
            classes=classes,
            data_resolution=data_resolution,
        )


@dataclass(frozen=True)
class SearchSpace:
    """Networks that differ in the leaves of one document.

    Attributes:
        document: a network document in which any leaf may be a Choice or a Range. In a row of the stage
            table an option is drawn only where the drawn operator takes it, and a stage whose repeats
            are 0 is absent.
        coefficients: the domains of the shares of growth. `depth` is depth's share, `width` is width's
            share of what depth leaves; resolution gets the rest. `growth` is alpha * beta^2 * gamma^2.
    """

    name: str
    document: Mapping[str, Any]
    coefficients: Mapping[str, Any]

    def draw(self, suggest: Suggest) -> Candidate:
        """Return the candidate that `suggest(name, domain)` chooses, asked leaf by leaf."""
        resolver = _Resolver(suggest, self.document)
        base = with_valid_widths(from_document({"name": self.name} | resolver.value(self.document, ())))
        drawn = resolver.value(self.coefficients, ("coefficients",))
        depth = float(drawn["depth"])
        width = (1 - depth) * float(drawn["width"])
        return Candidate(base, Coefficients.from_shares(depth, width, float(drawn["growth"])))

    def domains(self) -> dict[str, Domain]:
        """Return every leaf that is free, by name, conditional ones included."""
        tree = {**self.document, "coefficients": self.coefficients}
        return {label(path): leaf for path, leaf in leaves(tree) if isinstance(leaf, Choice | Range)}

    def example(self, path: Path, value: Any) -> dict[str, Any]:
        """Return a network document of the space in which the leaf at `path` has `value`.

        The leaf's stage is present and has an operator that takes it; ValueError where none does.
        """
        operator = self._operator_for(path)

        def suggest(name: str, domain: Domain) -> Any:
            if name == label(path):
                return value
            if name in operator:
                return operator[name]
            return max(domain.samples()) if name.endswith(".repeats") else first_values(name, domain)

        document: dict[str, Any] = _Resolver(suggest, self.document).value(self.document, ())
        return document

    def _operator_for(self, path: Path) -> dict[str, Any]:
        """Return an operator of the path's stage that takes the option there, by leaf; none for others."""
        if path[0] != "stages" or path[2] in STAGE_FIELDS:
            return {}
        own = label((*path[:2], "operator"))
        name, operator = root(self.document, own, leaf_at(self.document, own))
        offered = operator.values if isinstance(operator, Choice) else (operator,)
        taking = [one for one in offered if one in OPERATORS and path[2] in OPERATORS[one].options]
        if not taking:
            raise ValueError(f"no operator of this stage takes {path[2]!r}")
        return {name: taking[0]}

    def encode(self, network: Network) -> dict[str, Any]:
        """Return the values, by leaf, that give `network` as a base; ValueError says why none do.

        Compared is what the network computes, its regularisation, batch-norm constants and number of
        classes aside: those are the recipe's and the data's. Neighbouring rows of the stage table that
        continue each other count as one.
        """
        return encode(self.document, network)

    def decode(self, values: Mapping[str, Any]) -> Network:
        """Return the base that values by leaf give: the inverse of `encode`."""
        resolved = _Resolver(lambda name, _domain: values[name], self.document).value(self.document, ())
        return with_valid_widths(from_document({"name": self.name} | resolved))

    def contains(
        self, network: Network, base: Network | None = None, depth: float = 1, width: float = 1
    ) -> Membership:
        """Say whether a network is a base of the space, or a base under an explicit table.

        `base`, `depth` and `width` are what a published table states; without them only the resolution
        may differ from a base of the space.
        """
        return membership(self, network, base or network, depth, width)

    def bases(self) -> int:
        """Return the number of combinations of the base's leaves (conditional ones counted as free)."""
        free = (leaf for _, leaf in leaves(self.document) if isinstance(leaf, Choice | Range))
        return prod(len(domain) for domain in free)

    def least(self, classes: int = 1) -> Cost:
        """Return the exact least cost that a deployed network for so many classes can have.

        Each figure is the least of its own measure. Raises InputError where ties couple too much.
        """
        from scalesearch.architecture.extremes import least  # `show` and `scale` start without NumPy

        return least(self, classes)


def leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every leaf of a document, domains and plain values alike, with its path."""
    children: Any = ()
    if isinstance(node, Mapping):
        children = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    else:
        yield path, node
    for name, child in children:
        yield from leaves(child, (*path, name))


class _Resolver:
    """Walks a space document with a suggest and gives the plain document that it chooses."""

    def __init__(self, suggest: Suggest, document: Mapping[str, Any]) -> None:
        self._suggest, self._document = suggest, document
        self._values: dict[str, Any] = {}

    def value(self, node: Any, path: Path) -> Any:
        """Return a node with every leaf resolved."""
        if isinstance(node, Mapping):
            return {name: self.value(child, (*path, name)) for name, child in node.items()}
        if isinstance(node, list):
            rows = [self._row(row, (*path, index)) for index, row in enumerate(node)]
            return [row for row in rows if row is not None]
        return self._leaf(node, label(path))

    def _leaf(self, node: Any, name: str) -> Any:
        # A leaf is asked for once: by itself, or before by a tie (its stage may be absent).
        if name not in self._values:
            if isinstance(node, Choice | Range):
                node = self._suggest(name, node)
            elif isinstance(node, Same) and node.leaf in self._values:
                node = self._values[node.leaf]
            elif isinstance(node, Same):
                node = self._leaf(leaf_at(self._document, node.leaf), node.leaf)
            self._values[name] = node
        return self._values[name]

    def _row(self, row: Any, path: Path) -> Any:
        """Resolve a row of the stage table, or None for an absent stage; other lists hold leaves."""
        if not isinstance(row, Mapping):
            return self.value(row, path)
        first = {
            name: self.value(row[name], (*path, name)) for name in ("operator", "repeats") if name in row
        }
        if first.get("repeats") == 0:
            return None
        taken = OPERATORS[first["operator"]].options
        rest = {
            name: self.value(child, (*path, name))
            for name, child in row.items()
            if name not in first and (name in STAGE_FIELDS or name in taken)
        }
        return first | rest
