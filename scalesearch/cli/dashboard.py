"""`scalesearch dashboard`: what runs found, as one page, served while they go on, or as pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalesearch import documents
from scalesearch.cli.folder import RunFolder, Surveys, open_folders
from scalesearch.errors import InputError

if TYPE_CHECKING:  # Plotly
    from scalesearch.dashboard.content import Content

PAGE, PAGE_OF_RUNS = "dashboard.html", "runs.html"
Picture = Annotated[list[str] | None, typer.Option(metavar="PANEL[:VIEW]")]


def dashboard(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run folders; with them folders of surveys (law, trust ...)."),
    ],
    layout: Annotated[
        str | None, typer.Option(help="A dashboard's name or a document's path; default the run's own.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page; default RUN/dashboard.html, for several runs.html here.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page and keep it up to date.")] = False,
    host: Annotated[str, typer.Option(help="The address to serve at; others than this machine see it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="To serve at; 0 for a free one.")] = 8050,
    png: Picture = None,
    svg: Picture = None,
) -> None:
    """Show what runs found: one HTML file that needs no network, or live with --serve."""
    runs, surveys = open_folders(folders)
    if not runs:
        raise InputError(f"dashboard: at least one run folder is needed, but {folders[0]} is a survey's")
    _check_options(out, serve=serve, pictures=bool(png or svg))
    if len(runs) > 1:
        _check_several(layout, surveys)
    pages = Pages(runs, surveys, layout)
    if png or svg:
        _pictures(pages, png or [], svg or [])
    elif serve:
        _serve(pages, host, port)
    else:
        _write(pages, out or (runs[0].folder / PAGE if len(runs) == 1 else Path(PAGE_OF_RUNS)))


def _check_options(out: Path | None, *, serve: bool, pictures: bool) -> None:
    if serve and pictures:
        raise InputError("dashboard: pictures are drawn or the page is served: give --png, --svg or --serve")
    if out is not None and (serve or pictures):
        raise InputError("--out names the page's file: none is written with --serve, --png or --svg")


def _check_several(layout: str | None, surveys: Surveys) -> None:
    if layout is not None:
        raise InputError("--layout: a dashboard is of one run, but several are given")
    if surveys:
        raise InputError(f"a survey of {next(iter(surveys))} goes with one run, but several are given")


class Pages:
    """The page of the given runs, drawn from what their folders hold by now."""

    def __init__(self, runs: Sequence[RunFolder], surveys: Surveys, layout: str | None) -> None:
        from scalesearch.cli.outputs import published_networks

        self.runs, self.surveys = tuple(runs), surveys
        self.layout = documents.load_layout(layout or _own_layout(runs))
        self.references = published_networks()

    def changed(self) -> bool:
        """Take in what was added to the folders; return whether there was anything."""
        grown = [run.refresh() for run in self.runs]
        return any(grown)

    def content(self) -> Content:
        """Draw the page."""
        views = [run.view(self.references, self.surveys) for run in self.runs]
        if len(views) == 1:
            from scalesearch.dashboard.run_page import run_content

            return run_content(views[0], self.layout, documents.write_text, self._table())
        from scalesearch.dashboard.runs_page import runs_content

        recipes = [json.dumps(run.recipe, sort_keys=True) for run in self.runs]
        return runs_content(views, recipes, documents.write_text)

    def _table(self) -> bytes | None:
        from scalesearch.search.report import parquet

        trials = self.runs[0].trials
        return parquet(trials, documents=False) if trials else None


def _own_layout(runs: Sequence[RunFolder]) -> str:
    if len(runs) > 1:
        return "default"
    name = Path(runs[0].origins.get("dashboard", "default")).stem
    if name in documents.names("dashboard"):
        return name
    print(f"the run's dashboard {name!r} is not found here: the default one is shown", file=sys.stderr)
    return "default"


def _write(pages: Pages, path: Path) -> None:
    from scalesearch.dashboard.page import write_page

    try:
        write_page(path, pages.content())
    except OSError as error:
        raise InputError(f"--out: the page {path} cannot be written: {error.strerror}") from error
    print(path)


def _serve(pages: Pages, host: str, port: int) -> None:
    from scalesearch.dashboard.live import Source, hosts_of, make_app, served

    app = make_app(Source(pages.changed, pages.content), hosts_of(host))
    with served(app, host, port) as server:
        name = f"[{host}]" if ":" in host else host
        print(f"http://{name}:{server.port}/ shows {len(pages.runs)} run(s); Ctrl-C ends it", flush=True)
        server.serve_forever()  # Ctrl-C ends it


def _pictures(pages: Pages, png: Sequence[str], svg: Sequence[str]) -> None:
    from scalesearch.cli.pictures import write_picture
    from scalesearch.dashboard.run_page import panel_figure

    if len(pages.runs) > 1:
        raise InputError(f"--png and --svg draw panels of one run, but {len(pages.runs)} are given")
    run = pages.runs[0]
    view = run.view(pages.references, pages.surveys)
    for suffix, wanted in (("png", png), ("svg", svg)):
        for name in wanted:
            path = Path(f"{run.folder.resolve().name}-{name.replace(':', '-').replace(' ', '-')}.{suffix}")
            write_picture(panel_figure(view, pages.layout, name), path)
            print(path)
