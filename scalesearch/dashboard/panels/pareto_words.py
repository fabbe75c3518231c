"""The words over the Pareto front."""

from __future__ import annotations

from scalesearch.dashboard.describe import label
from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.panels.pareto_data import Axis, ParetoData


def images_text(context: Context, rung: int) -> str:
    """Return how long the trainings of a rung are, in words, empty where that is not known."""
    return f"{context.rungs[rung]:,} images" if rung < len(context.rungs) else ""


def seeds_text(data: ParetoData) -> str:
    """Return how often each candidate was trained again: 3, or 2 to 3."""
    counts = sorted({again.finalist.seeds for again in data.again})
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "0"


def caption(data: ParetoData, axis: Axis, context: Context, rung: int, drawn: int) -> str:
    """Return what the picture shows, its names escaped; `drawn` is how many dominated points are in it."""
    reached = "reached" + (f" after {images}" if (images := images_text(context, rung)) else "")
    sentences = [
        f"A point is a candidate: {axis.words}, and the validation accuracy that its proxy {reached}.",
        _front_words(axis),
        "These are the candidates that were trained longest, so they are compared among each other."
        if rung
        else "",
        _again_words(data),
        _control_words(data),
        _reference_words(data, axis),
        _count_words(data, drawn),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _front_words(axis: Axis) -> str:
    if axis.levels:
        return (
            "The front joins the best of each level that beats all cheaper ones; dearer levels train dearer "
            "proxies."
        )
    return (
        "The front joins those that no other beats in both; they may belong to different levels, and dearer "
        "levels train dearer proxies."
    )


def _again_words(data: ParetoData) -> str:
    if not data.again:
        return ""
    return (
        f"Diamonds are candidates trained again with fresh seeds (n = {seeds_text(data)}): the mean and its "
        "95 % interval on other validation images, by which nothing was chosen. They lie lower as a rule "
        "than the point by which they were chosen."
    )


def _control_words(data: ParetoData) -> str:
    if not any(point.trial.arm == "control" for point in (*data.front, *data.dominated)):
        return ""
    return "Squares are random draws, trained at equal cost to compare the search with."


def _reference_words(data: ParetoData, axis: Axis) -> str:
    words = ""
    if data.near:
        words = (
            "Published networks are marked at their cost only, since their published accuracies come from "
            "other data and longer training."
        )
    if data.far:
        names = ", ".join(f"{label(far.name, 30)} at {axis.text(cost)}" for cost, far in data.far[:3])
        more = f" and {len(data.far) - 3} more" if len(data.far) > 3 else ""
        words += f" Outside of the picture: {names}{more}."
    return words.strip()


def _count_words(data: ParetoData, drawn: int) -> str:
    words = []
    if len(data.front) + len(data.dominated) == 1:
        words.append("One trial is complete so far, so the front is that trial.")
    counts = (
        (len(data.failed), "failed"),
        (len(data.interrupted), "interrupted"),
        (len(data.over), "over budget"),
    )
    left_out = [f"{count} {name}" for count, name in counts if count]
    if left_out:
        words.append(f"Never on the front: {', '.join(left_out)}.")
    if drawn < len(data.dominated):
        words.append(
            f"Of {len(data.dominated):,} dominated trials {drawn:,} are drawn; the others lie close to them."
        )
    return " ".join(words)
