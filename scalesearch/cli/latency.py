"""`scalesearch latency`: how long networks take to answer on this machine, measured and predicted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from scalesearch.cli.options import AsJson, budget, names, seconds
from scalesearch.errors import InputError

WIDTH = 132  # characters that the tables need
LONGEST = 60.0  # seconds of one measurement


def latency(
    networks: Annotated[
        list[str] | None,
        typer.Argument(metavar="NETWORK...", help="Names, documents, models' folders, or RUN[:best|:TRIAL]."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "cpu",
    batch: Annotated[str, typer.Option(metavar="A,B", help="Images of a pass.")] = "1",
    threads: Annotated[int, typer.Option(min=1, help="Of the CPU.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    channels_last: Annotated[
        bool, typer.Option("--channels-last/--contiguous", help="The memory format.")
    ] = True,
    time: Annotated[str, typer.Option(help="Of each measurement, such as 2s.")] = "2s",
    table: Annotated[bool, typer.Option("--table", help="Show the time of every block.")] = False,
    learn: Annotated[
        bool, typer.Option("--learn", help="Learn a latency model of this machine where none is kept.")
    ] = False,
    check: Annotated[
        int | None, typer.Option(metavar="N", min=3, help="Compare predictions on N random networks.")
    ] = None,
    space: Annotated[str, typer.Option(help="The search space of --check.")] = "mixed",
    budget_flops: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Multiply-accumulates of the networks of --check.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random networks of --check.")] = 0,
    write: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the model for `run --latency-model FILE`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how long networks take to answer here; show what a model of this machine predicts beside it."""
    batches, limit = _batches(batch), seconds(time)
    if limit > LONGEST:
        raise InputError(f"--time: a measurement takes at most {LONGEST:g} s, but got {time}")
    if not networks and not (learn or check or write):
        raise InputError("name a network to measure, or give --learn, --check or --write")
    if check is not None and budget_flops is None:
        raise InputError("--check needs --budget-flops, to which the random networks are fitted")
    if (check is not None or write is not None) and len(batches) > 1:
        raise InputError(f"--check and --write are of one batch, but got {batch}")
    flops = None if budget_flops is None else budget(budget_flops)
    place = None if write is None else _place(write)

    from scalesearch.cli import latency_session as session
    from scalesearch.cli.target import resolve
    from scalesearch.training.latency import Conditions

    targets = [resolve(name) for name in networks or ()]
    setups = [
        session.on_this_machine(Conditions(one, device, threads, dtype, channels_last)) for one in batches
    ]
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    wanted = learn or check is not None or write is not None
    models = [session.known_model(setup, say) for setup in setups] if wanted else []
    report = session.to_json(session.measured(targets, setups, limit, parts=table, say=say), setups[0])
    report["models"] = [model.to_json() for model in models]
    if check is not None and flops is not None:
        drawn = session.random_networks(space, flops, check, seed)
        report["check"] = session.check(drawn, models[0], setups[0], limit)
    if place is not None:
        session.write_model(place, models[0])
        say(f"written: {place}")
    if as_json:
        print(json.dumps(report))
    else:
        print_report(report)


def _batches(text: str) -> list[int]:
    parts = names("--batch", text) or ()
    if not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(f"--batch is whole numbers of at least 1 such as 1,8,64, but got {text!r}")
    return sorted({int(part) for part in parts})


def _place(text: str) -> Path:
    """Return where a file can be written, said before minutes of measuring; InputError where none can."""
    path = Path(text)
    if not path.parent.is_dir():
        raise InputError(f"--write {path}: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise InputError(f"--write {path}: this is there and is no file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"--write {path}: the folder {path.parent} cannot be written")
    return path


def milliseconds(value: float) -> str:
    """Return seconds as milliseconds with at most three digits."""
    return f"{float(f'{1e3 * value:.3g}'):g}"


def print_report(report: dict[str, Any]) -> None:
    """Print what the command found as tables; how it was measured stands above them."""
    console = Console()
    console.width = max(console.width, WIDTH)  # figures are the point: cut none
    machine, setup = report["machine"], report["conditions"]
    where = machine["cpu"] if machine["device"] == "cpu" else machine["device"]
    console.print(
        f"{where}; {setup['threads']} thread(s), {setup['dtype']}, {setup['memory_format']}; "
        f"torch {machine['torch']}; {setup['clock']} time; milliseconds are medians [quartiles] of n passes",
        highlight=False,
        markup=False,
    )
    if report["latencies"]:
        console.print(_networks(report["latencies"]))
    for row in report["latencies"]:
        if "parts" in row:
            console.print(_parts(row))
    if "check" in report:
        console.print(check_text(report["check"]), highlight=False, markup=False)


def _networks(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("network", no_wrap=True)
    for name in ("px", "MFLOPs", "batch", "ms", "n", "wall ms", "images/s", "peak MB", "predicted", "error"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        predicted = row["predicted"]
        table.add_row(
            row["network"],
            str(row["resolution"]),
            f"{row['flops'] / 1e6:,.1f}",
            str(row["batch"]),
            _spread(row["seconds"]),
            str(row["seconds"]["n"]),
            milliseconds(row["wall_seconds"]["median"]),
            f"{row['images_per_second']:,.1f}",
            f"{row['peak_memory'] / 1e6:,.0f}",
            "-" if predicted is None else milliseconds(predicted),
            "-" if predicted is None else f"{row['error']:+.1%}",
        )
    return table


def _spread(timing: dict[str, Any]) -> str:
    median, low, high = (milliseconds(timing[name]) for name in ("median", "low", "high"))
    return f"{median} [{low}, {high}]"


def _parts(row: dict[str, Any]) -> Table:
    table = Table(
        box=None,
        header_style="bold",
        pad_edge=False,
        title=f"{row['network']}, batch {row['batch']}: its parts add up to "
        f"{milliseconds(row['parts_seconds'])} ms ({row['parts_error']:+.1%})",
        title_justify="left",
    )
    table.add_column("part", no_wrap=True)
    for name in ("ms", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in row["parts"]:
        table.add_row(part["part"], _spread(part), str(part["n"]))
    return table


def check_text(found: dict[str, Any]) -> str:
    """Return in words how predictions compare with measurements."""
    low, high = found["median_error_interval"]
    ranks = ", ".join(
        f"{name} {one['spearman']:.2f} [{one['interval'][0]:.2f}, {one['interval'][1]:.2f}]"
        for name, one in found["rank"].items()
    )
    return (
        f"check on {len(found['networks'])} random networks: median error {found['median_error']:.1%} "
        f"[{low:.1%}, {high:.1%}], largest {found['largest_error']:.1%}; predicted over measured "
        f"{found['median_ratio']:.2f}; two measurements of one network differ by "
        f"{found['rounds_differ']:.1%} (all medians)\n"
        f"rank correlation with the measured latency (Spearman): {ranks}"
    )
