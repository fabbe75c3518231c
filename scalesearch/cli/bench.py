"""`scalesearch bench`: how many trainings an hour this machine affords, against the usual loop."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from scalesearch.cli.options import seconds

WIDTH = 110  # characters that the tables need


def bench(
    budget: Annotated[str, typer.Option(help="Time of the whole call, such as 90s or 5m.")] = "90s",
    data: Annotated[
        str | None,
        typer.Option(help="cifar10, digits or a folder, as in `run`; without it images are synthetic."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure this machine: images per second and trainings per hour, this engine beside the usual loop."""
    allowed = seconds(budget)
    from scalesearch.cli.bench_rounds import Bench

    console = Console(stderr=True)
    measured = Bench(device, data, allowed, lambda line: console.print(line, highlight=False, markup=False))
    found = measured.run()
    if as_json:
        print(json.dumps(found))
    else:
        print_bench(found)


def print_bench(found: dict[str, Any]) -> None:
    """Print what `Bench.run` returned as tables with a line on each."""
    console = Console()
    console.width = max(console.width, WIDTH)  # figures are the point: cut none
    machine, counts = found["machine"], sorted({row["engine"]["n"] for row in found["networks"]})
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores usable; device {machine['device']}; "
        f"torch {machine['torch']}; {found['workers']} trainings at once, {found['threads']} threads each\n"
        f"{found['data']} images; n = {' to '.join(map(str, counts))} of {found['seconds_each']:.1f} s; "
        f"median [least, most]; {found['seconds']:.0f} s in all",
        highlight=False,
        markup=False,
    )
    console.print(_speed_table(found["networks"]))
    console.print(_hour_table(found))
    if found["left_out"]:
        console.print(f"no time for {', '.join(found['left_out'])}: give a longer --budget")
    console.print(found["note"], highlight=False, style="dim")


def _columns(table: Table, *names: str) -> Table:
    for name in names:
        table.add_column(name, justify="left" if name == "proxy of" else "right", no_wrap=True)
    return table


def _speed_table(networks: list[dict[str, Any]]) -> Table:
    table = Table(
        box=None, header_style="bold", pad_edge=False, title="images per second", title_justify="left"
    )
    _columns(table, "proxy of", "MFLOPs", "px", "this engine", "usual loop", "ratio", "outside step")
    for row in networks:
        outside = row["outside_share"]
        table.add_row(
            row["name"],
            f"{row['flops'] / 1e6:.1f}",
            str(row["resolution"]),
            _spread(row["engine"], ",.0f"),
            _spread(row["naive"], ",.0f"),
            _spread(row["ratio"], ".1f"),
            "-" if outside is None else f"{outside['median']:.1%}",
        )
    return table


def _hour_table(found: dict[str, Any]) -> Table:
    table = Table(
        box=None,
        header_style="bold",
        pad_edge=False,
        title="trainings per hour, extrapolated from the images per second",
        title_justify="left",
    )
    lengths = [f"{length:,} images" for length in found["images"].values()]
    _columns(table, "proxy of", *lengths, *(f"usual loop, {length}" for length in lengths))
    for row in found["networks"]:
        engine, naive = row["trainings_per_hour"]["engine"], row["trainings_per_hour"]["naive"]
        table.add_row(
            row["name"], *(f"{engine[k]:,.0f}" for k in engine), *(f"{naive[k]:,.1f}" for k in naive)
        )
    return table


def _spread(measured: dict[str, Any], form: str) -> str:
    median, low, high = (format(measured[name], form) for name in ("median", "low", "high"))
    return f"{median} [{low}, {high}]"
