"""One page for several runs: what each found, their fronts, and what they spent on it."""

from __future__ import annotations

from collections.abc import Sequence

from scalesearch.dashboard.comparison import compare
from scalesearch.dashboard.comparison_figures import best_so_far, fronts
from scalesearch.dashboard.comparison_screen import comparison_screen
from scalesearch.dashboard.content import Content, panel_data
from scalesearch.dashboard.entries import YamlOf, entries
from scalesearch.dashboard.panels.table import table
from scalesearch.dashboard.run_view import RunView


def runs_content(runs: Sequence[RunView], recipes: Sequence[str], yaml_of: YamlOf) -> Content:
    """Return the page of several runs. `recipes` are texts, one a run, that are equal where recipes are.

    Raises InputError for more runs than can be told apart.
    """
    compared = compare(runs, recipes)
    drawn = (fronts(compared), best_so_far(compared), table(()))
    found = [
        entry
        for number, run in enumerate(runs)
        for entry in entries(
            run.trials, run.context.finalists, yaml_of, number, several=True, budget=run.context.budget
        )
    ]
    return Content(
        title=" · ".join(run.title for run in runs),
        eyebrow=f"{len(runs)} runs side by side",
        notice=next((run.notice for run in runs if run.notice), None),
        screen=comparison_screen(compared),
        panels=[panel_data(number, one) for number, one in enumerate(drawn)],
        entries=found,
        runs=[run.title for run in runs],
    )
