"""`scalesearch train`: the full training of one network, from its first weights to its test accuracy."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from scalesearch.cli.interruption import Interruption
from scalesearch.cli.options import AsJson, Data, Device
from scalesearch.cli.train_request import TrainRequest
from scalesearch.errors import InputError

AMP = ("off", "bf16", "fp16")


def train(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK|RUN[:TRIAL|:best]",
            help="A network's name or document, a model's folder, or a run's folder with :best or :TRIAL.",
        ),
    ],
    data: Data = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name or path; default full, with --weights transfer.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Instead of the recipe's; warm-up keeps its share.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At the top of the schedule.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="torchvision|PATH", help="Begin with trained weights and a new classifier."),
    ] = None,
    freeze: Annotated[
        str, typer.Option(metavar="none|trunk|N", help="What is not trained: the first N stages.")
    ] = "none",
    resolution: Annotated[
        int | None, typer.Option(min=1, help="Input side in pixels; default the network's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order, augmentation and dropout.")] = 0,
    device: Device = "auto",
    loader_workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that prepare images; results do not depend on them."),
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(min=1, help="Parts of a batch, one after the other, for want of memory.")
    ] = None,
    amp: Annotated[
        str | None, typer.Option(metavar="|".join(AMP), help="Mixed precision; fp16 on CUDA alone.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The folder; default runs/train_NETWORK_DIGEST.")] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard beside the table.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a network on a data set in full; the same command continues where it was stopped or killed.

    The best epoch is chosen on validation images, and the test images are read once, at the end. With
    several GPUs: `torchrun --nproc-per-node N -m scalesearch train ...`.
    """
    if amp is not None and amp not in AMP:
        raise InputError(f"--amp is {', '.join(AMP[:-1])} or {AMP[-1]}, but got {amp!r}")
    asked = {
        "--batch-size": ("batch_size", batch_size),
        "--learning-rate": ("learning_rate", learning_rate),
        "--accumulate": ("accumulate", accumulate),
        "--amp": ("amp", amp),
    }
    request = TrainRequest(
        network=network,
        data=data,
        recipe=recipe,
        epochs=epochs,
        changes={option: change for option, change in asked.items() if change[1] is not None},
        weights=weights,
        freeze=freeze,
        resolution=resolution,
        seed=seed,
        device=device,
        loader_workers=loader_workers,
        out=out,
        tensorboard=tensorboard,
    )

    from scalesearch.cli.train_session import TrainSession

    with Interruption() as interruption:
        report, code = TrainSession(request).run(interruption.requested)
    if as_json and report is not None:
        print(json.dumps(report))
    raise typer.Exit(code)
