"""Documents: networks, spaces, studies, surveys, recipes, dashboards as YAML that a user copies and edits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scalesearch.architecture.network import Network
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.architecture.space import SearchSpace
from scalesearch.documents.check import Place, check_folder_name, checked
from scalesearch.documents.families import Entry, entries, find_network, known_networks
from scalesearch.documents.files import FOLDERS, find, names, read, read_text, write_text
from scalesearch.documents.network import ABOUT, network_from
from scalesearch.documents.references import load_references
from scalesearch.documents.space import plain, space_from
from scalesearch.errors import InputError
from scalesearch.training.full.recipe import FullRecipe, Stage
from scalesearch.training.recipe import Recipe

if TYPE_CHECKING:  # Optuna and Plotly are loaded by the commands that need them
    from scalesearch.dashboard.layout import Layout
    from scalesearch.search.study import Study
    from scalesearch.search.survey_document import Survey

__all__ = [
    "ABOUT",
    "FOLDERS",
    "Entry",
    "entries",
    "find",
    "find_network",
    "known_networks",
    "load",
    "load_full_recipe",
    "load_layout",
    "load_recipe",
    "load_references",
    "load_space",
    "load_study",
    "load_survey",
    "names",
    "network_from",
    "plain",
    "read",
    "read_text",
    "space_from",
    "write_text",
]

T = TypeVar("T")
FULL = "epochs"  # the field that a recipe of full training has, and one of short trainings has not


def load(name: str | Path) -> Network:
    """Return a network by name (`efficientnet_b4`) or from a document's path."""
    return find_network(name).network


def load_space(name: str | Path) -> SearchSpace:
    """Return a search space by name or path; every value of every leaf is checked in a network."""
    path = find("space", name)
    return space_from(read(path), str(path))


def load_study(name: str | Path) -> Study:
    """Return a study by name or path."""
    from scalesearch.search.study import Finals, SamplerChoice, Study

    path = find("study", name)
    document = read(path)
    place = Place(str(path))
    for part, kind in (("sampler", SamplerChoice), ("finals", Finals)):
        checked(kind, document.get(part, {}), place.at(part))
    check_folder_name(document.get("name"), place.at("name"))
    return _read_as(Study, document, place)


def load_survey(name: str | Path) -> Survey:
    """Return a survey by name or path."""
    from scalesearch.search.survey_document import Block, Survey

    path = find("survey", name)
    document, place = read(path), Place(str(path))
    _each(Block, document.get("trainings"), place.at("trainings"))
    check_folder_name(document.get("name"), place.at("name"))
    return _read_as(Survey, document, place)


def load_recipe(name: str | Path) -> Recipe:
    """Return a recipe of short trainings by name or path."""
    document, place = _recipe(name)
    if FULL in document:
        place.fail(f"a recipe with {FULL} is one of full training: scalesearch train takes it")
    checked(ProxyPolicy, document.get("proxy", {}), place.at("proxy"))
    return _read_as(Recipe, document, place)


def load_full_recipe(name: str | Path) -> FullRecipe:
    """Return a recipe of full training, one that says how many epochs, by name or path."""
    document, place = _recipe(name)
    if FULL not in document:
        place.fail(f"a recipe without {FULL} is one of short trainings: scalesearch run takes it, in a study")
    _each(Stage, document.get("stages"), place.at("stages"))
    return _read_as(FullRecipe, document, place)


def _recipe(name: str | Path) -> tuple[dict[str, Any], Place]:
    path = find("recipe", name)
    return {key: value for key, value in read(path).items() if key not in ABOUT}, Place(str(path))


def _each(kind: type, rows: Any, place: Place) -> None:
    """Check each row of a list by itself, so that an error names it; what is no list is told later."""
    if isinstance(rows, list):
        for number, row in enumerate(rows):
            checked(kind, row, place.at(number))


def load_layout(name: str | Path) -> Layout:
    """Return a dashboard's layout by name or path."""
    from scalesearch.dashboard.layout import Layout

    path = find("dashboard", name)
    try:
        return _read_as(Layout, read(path), Place(str(path)))
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _read_as(kind: type[T], document: Mapping[str, Any], place: Place) -> T:
    read_as: T = checked(kind, document, place)
    return read_as
