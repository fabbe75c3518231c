"""The first screen as HTML: what was found, what it costs, how good it is, how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from scalesearch.dashboard.describe import (
    STAGE_COLUMNS,
    StageRow,
    belonging,
    cost_text,
    counts_text,
    failure_reasons,
    nothing_yet,
    one_line,
    pattern_text,
    resolution_text,
    stage_rows,
    within_text,
)
from scalesearch.dashboard.summary import Best, Summary
from scalesearch.dashboard.theme import PALETTE, count_text, flops_text, percent_text, seconds_text
from scalesearch.search.records import Member, TrialRecord


def first_screen(summary: Summary, trials: Sequence[TrialRecord]) -> str:
    """Return the cards above the panels; every value from outside is escaped."""
    best = summary.best
    cards = _best_cards(summary, best) if best else _no_best_card(summary, trials)
    return f'<main class="cards">{cards}</main>{_run_line(summary, trials)}'


def _best_cards(summary: Summary, best: Best) -> str:
    tiles = (
        _cost_tile(summary, best)
        + _accuracy_tile(best)
        + _certainty_tile(summary, best)
        + _data_tile(summary)
    )
    return f'{_network_card(best)}<div class="tiles">{tiles}</div>'


def _no_best_card(summary: Summary, trials: Sequence[TrialRecord]) -> str:
    nothing_fits = summary.exhausted and not trials
    words = "No candidate could be fitted to the limits." if nothing_fits else escape(nothing_yet(trials))
    asked = f"Asked for: the best network within {within_text(summary.budget, summary.limits)}."
    texts = f'<p>{words}</p><p class="quiet">{asked}</p>'
    heading = "No network found" if nothing_fits else "No network found yet"
    card = f'<section class="card found"><h2>{heading}</h2>{texts}</section>'
    return f'{card}<div class="tiles">{_data_tile(summary)}</div>'


def _network_card(best: Best) -> str:
    document = best.trial.deployed.document
    depth, width, resolution = best.realised
    alpha, beta, gamma = best.coefficients
    return (
        '<section class="card found"><h2>What was found</h2>'
        f'<p class="big">{escape(pattern_text(document))}</p>'
        f"<p>{escape(one_line(document['name']))}, trial {best.trial.number}, "
        f"input {escape(resolution_text(document['resolution']))}, {best.classes:,} classes</p>"
        f"{_stage_table(document)}"
        f'<p class="quiet">Its base network × {depth:.2f} in depth, {width:.2f} in width, '
        f"{resolution:.2f} in resolution (drawn: α {alpha:.2f}, β {beta:.2f}, γ {gamma:.2f}).</p></section>"
    )


def _stage_table(document: Mapping[str, Any]) -> str:
    parts = stage_rows(document)
    operators = list(dict.fromkeys(part.operator for part in parts if part.place.isdigit()))
    rows = [_stage_row(part, operators) for part in parts]
    heads = "".join(f"<th>{name}</th>" for name in ("", "operator", *STAGE_COLUMNS))
    return f'<table class="stages"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _stage_row(part: StageRow, operators: Sequence[str]) -> str:
    colour = f"c{operators.index(part.operator) % len(PALETTE)}" if part.place.isdigit() else ""
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in part.cells)
    chip = f'<i class="chip {colour}"></i>'
    return f"<tr><td>{part.place}</td><td>{chip}{escape(part.operator)}</td>{cells}</tr>"


def tile(heading: str, big: str, *lines: str) -> str:
    """Return a card with one large figure; all parts are HTML."""
    rest = "".join(f"<p>{line}</p>" for line in lines if line)
    return f'<section class="card"><h2>{heading}</h2><p class="big">{big}</p>{rest}</section>'


def _cost_tile(summary: Summary, best: Best) -> str:
    deployed = best.trial.deployed
    return tile(
        "What it costs",
        flops_text(deployed.flops),
        _gauge(summary, deployed),
        f"<b>{count_text(deployed.params)}</b> params, <b>{count_text(deployed.activations)}</b> activations",
        '<span class="quiet">Multiply-accumulates of convolutions and linear layers, per image.</span>',
    )


def _gauge(summary: Summary, deployed: Member) -> str:
    """Show how much of the binding limit is taken; further limits are named."""
    limit = summary.limits.get(deployed.binding, summary.budget)
    share = getattr(deployed, deployed.binding) / limit
    gauge = f'<span class="gauge"><span style="width:{min(100, 100 * share):.1f}%"></span></span>'
    if deployed.binding == "flops":
        return f"{gauge}{percent_text(share)} of the budget of {flops_text(limit)}"
    binds = f"{gauge}{percent_text(share)} of the limit of {cost_text(deployed.binding, limit)}, which binds"
    budget = f"{percent_text(deployed.flops / summary.budget)} of the budget of {flops_text(summary.budget)}"
    return f"{binds}; {budget}"


def _accuracy_tile(best: Best) -> str:
    belongs = (
        f'<span class="quiet">On validation images by which nothing was chosen, '
        f"{escape(belonging(best.trial))}.</span>"
    )
    low, high = best.interval
    trainings = f"{best.seeds} trainings" if best.seeds != 1 else "1 training"
    interval = f"<b>{percent_text(low)}</b> to <b>{percent_text(high)}</b> (95 %), n = {trainings}"
    return tile("How good it is", percent_text(best.accuracy), interval, belongs)


def _certainty_tile(summary: Summary, best: Best) -> str:
    complete = summary.counts.get("complete", 0)
    among = (
        '<span class="quiet">Chosen by validation loss; '
        f"{complete} trials are complete over all levels.</span>"
    )
    if best.seeds < 2:
        words = "It was trained once: its own spread between seeds is not known, only the usual one."
        return tile("How sure that is", "unknown", words, among)
    if best.ties == 0:
        words = "No other candidate that was trained again lies inside the interval."
        return tile("How sure that is", "no ties", words, among)
    others = "candidate lies" if best.ties == 1 else "candidates lie"
    words = f"{best.ties} other {others} inside the interval: as good, as far as was measured."
    return tile("How sure that is", f"{best.ties} tie{'s' if best.ties > 1 else ''}", words, among)


def _data_tile(summary: Summary) -> str:
    return tile(
        "On which data",
        escape(one_line(summary.data, 40)),
        f"<b>{summary.train_images:,}</b> images to train on, <b>{summary.val_images:,}</b> to validate",
        '<span class="quiet">The test images took no part. '
        f"Fingerprint {escape(one_line(summary.fingerprint)[:12])}.</span>",
    )


def _run_line(summary: Summary, trials: Sequence[TrialRecord]) -> str:
    parts = [f"Trials: {escape(counts_text(summary.counts))}"]
    parts += [escape(one_line(summary.state, 90))] if summary.state else []
    parts += [f"{seconds_text(summary.seconds)} of searching"] if summary.seconds else []
    parts += [
        escape(f"{one_line(name, 24)} {one_line(version, 24)}") for name, version in summary.versions.items()
    ]
    reasons = "; ".join(f"{count} × {escape(reason)}" for reason, count in failure_reasons(trials)[:3])
    line = f'<p class="run">{" · ".join(parts)}</p>'
    return line + (f'<p class="run">Failed: {reasons}</p>' if reasons else "")
