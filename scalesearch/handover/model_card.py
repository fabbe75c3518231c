"""The model card: README.md of an exported network, for people and for model hubs (Mitchell et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scalesearch.architecture.space_map import Share
from scalesearch.handover.forms.onnx import INPUT, OPSET, OUTPUT
from scalesearch.handover.inputs import Preparation
from scalesearch.handover.markdown import as_text
from scalesearch.handover.model import Model
from scalesearch.handover.source import class_name
from scalesearch.handover.verify import Agreement

TRAINED_AT = "trained_resolution"  # in the facts of a model that was brought to another
MOST_CLASSES = 20  # that are named here; model.json has all
_SPLITS = {
    "test": "test images",
    "report": "validation images by which nothing was chosen",
    "select": "validation images by which the epoch was chosen",
}
_TOLD = ("origin", "run", "candidate", "seed", "epochs", "images", "notice")
_FILES = {
    "network.py": "the network in plain PyTorch",
    "weights.safetensors": "its weights",
    "network.yaml": "its description for scalesearch",
    "model.json": "classes, normalisation and all that is known of the training",
    "network.pt2": "the network as a `torch.export` program, any batch size",
    "network.onnx": f"the network as ONNX, opset {OPSET}, input `{INPUT}`, output `{OUTPUT}`, any batch size",
    "timm.json": "the network as `arch_def` of timm, and timm's names of the weights",
    "cost.json": "its cost, counted and measured",
    "export.json": "what was checked, and how closely the forms agree",
}
_USE = """```python
import torch
from safetensors.torch import load_file
from network import {name}

network = {name}().eval()
network.load_state_dict(load_file("weights.safetensors"))
with torch.no_grad():
    logits = network(images)  # {shape}
```"""
_TIMM = """```python
import json
from functools import partial
from pathlib import Path
from safetensors.torch import load_file
from timm.layers import get_act_layer
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.{module} import {family}
from torch.nn import BatchNorm2d

made = json.loads(Path("timm.json").read_text())
own, names = made["arguments"], made["names"]
act, norm, se = (own.pop(name) for name in ("act", "norm", "excitation"))
inside = {{"force_act_layer": get_act_layer(se["act"])}} if se["act"] else {{}}
network = {family}(
    decode_arch_def(made["arch_def"]), act_layer=get_act_layer(act), norm_layer=partial(BatchNorm2d, **norm),
    se_layer=partial(SqueezeExcite, gate_layer=get_act_layer(se["gate"]), **inside),
    round_chs_fn=int, fix_stem=True, **own,
)
shapes = network.state_dict()
weights = {{names[ours]: weight for ours, weight in load_file("weights.safetensors").items()}}
network.load_state_dict({{name: weight.reshape(shapes[name].shape) for name, weight in weights.items()}})
```"""


def model_card(
    model: Model,
    files: Sequence[str],
    *,
    seed: int,
    cost: Mapping[str, Any] | None,
    checked: Iterable[Agreement],
    left_out: Mapping[str, str],
    timm_family: str | None = None,
) -> str:
    """Return README.md.

    Args:
        model: what is handed over.
        seed: of the initial weights, where it has none.
        files: names of the files beside it.
        cost: the cost card, if there is one.
        checked: how closely the forms agree.
        left_out: why a form is not there, by its file.
        timm_family: the class of timm.json, if there is one.
    """
    network = model.network
    parts = [
        f"# {as_text(network.name)}",
        _about(model, seed),
        _training(model),
        _cost(model, cost),
        "## Use it\n\n" + _USE.format(name=class_name(network), shape=_shape_text(model)),
        _input(model),
        _classes(model),
        _files(files, checked, left_out),
        "" if timm_family is None else _timm(timm_family),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _timm(family: str) -> str:
    module = {"EfficientNet": "efficientnet", "MobileNetV3": "mobilenetv3"}[family]
    return "## In timm\n\n" + _TIMM.format(family=family, module=module)


def _shape_text(model: Model) -> str:
    sizes = ", ".join(str(side) for side in model.network.input.size)
    return f"images: (n, {model.network.in_channels}, {sizes}), logits: (n, {model.network.classes})"


def _about(model: Model, seed: int) -> str:
    network = model.network
    sides = " x ".join(str(side) for side in network.input.size)
    kind = "images" if network.dims == 2 else "videos (frames x height x width)"
    what = f"A convolutional network for {kind} of {sides} with {network.classes:,} classes."
    if model.weights is None:
        return f"**Untrained.** {what} Its weights are a random initialisation with seed {seed}."
    elsewhere = trained_elsewhere(model)
    warned = (_unfinished(model.facts), f"**Another resolution.** It was {elsewhere}." if elsewhere else "")
    return "\n\n".join(part for part in (what, *warned) if part)


def _unfinished(facts: Mapping[str, Any]) -> str:
    """Return how a training ended that did not complete."""
    status = facts.get("status")
    if status in (None, "complete"):
        return ""
    recipe, done, own = facts.get("recipe"), facts.get("epochs"), facts.get("epoch")
    planned = recipe.get("epochs") if isinstance(recipe, Mapping) else None
    text = f"**Training {as_text(status)}.** The training did not complete"
    if done is not None:
        of = "" if planned is None else f" of {as_text(planned)}"
        text += f": it ended after {as_text(done)}{of} epochs"
    if facts.get("reason"):
        text += f" ({as_text(facts['reason'])})"
    return f"{text}." + ("" if own is None else f" These weights are those of epoch {as_text(own)}.")


def trained_elsewhere(model: Model) -> str:
    """Return at which resolution a network was trained, where it is not used at that; else nothing."""
    sides, used = model.facts.get(TRAINED_AT), list(model.network.input.size)
    if not isinstance(sides, list) or sides == used:
        return ""
    return (
        f"trained and evaluated at {_pixels(sides)}, not at {_pixels(used)}: how accurate it is there was "
        f"not measured"
    )


def _pixels(sides: Sequence[Any]) -> str:
    shown = [as_text(side) for side in sides]
    return " x ".join(shown[:1] if len(set(shown)) == 1 else shown) + " px"


def _training(model: Model) -> str:
    facts = model.facts
    lines = [*_data(facts), *_recipe(facts), *_told(facts), *_accuracies(facts)]
    if model.weights is None:
        lines = [line for line in (*_data(facts), *_told(facts)) if line]
        return _section("Where it comes from", lines)
    return _section("Training", lines or ["nothing is known of the training"])


def _section(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _data(facts: Mapping[str, Any]) -> Iterator[str]:
    data = facts.get("data")
    if isinstance(data, Mapping):
        shown = [f"{as_text(data.get('name', 'not named'))}"]
        images = data.get("images")
        if isinstance(images, Mapping):
            shown += [f"{as_text(number)} {as_text(part)}" for part, number in images.items()]
        if "fingerprint" in data:
            shown.append(f"fingerprint {as_text(data['fingerprint'])}")
        yield "data: " + ", ".join(shown)
    elif data is not None:
        yield f"data: {as_text(data)}"


def _recipe(facts: Mapping[str, Any]) -> Iterator[str]:
    recipe = facts.get("recipe")
    if isinstance(recipe, Mapping):
        told = {name: value for name, value in recipe.items() if isinstance(value, str | int | float)}
        yield "recipe: " + ", ".join(f"{as_text(n)} {as_text(v)}" for n, v in told.items())
    elif recipe is not None:
        yield f"recipe: {as_text(recipe)}"
    weights = facts.get("weights")
    if isinstance(weights, Mapping):
        yield f"first weights: {as_text(weights.get('source'))}"


def _told(facts: Mapping[str, Any]) -> Iterator[str]:
    for name in _TOLD:
        if facts.get(name) is not None:
            yield f"{as_text(name)}: {as_text(facts[name])}"


def _accuracies(facts: Mapping[str, Any]) -> Iterator[str]:
    for split, what in _SPLITS.items():
        found = facts.get(split)
        if isinstance(found, Mapping) and _is_share(found.get("accuracy")):
            yield _accuracy(found["accuracy"], found.get("images"), found.get("interval"), what)
    if _is_share(facts.get("accuracy")):
        what = as_text(facts.get("accuracy_on", "images"))
        yield _accuracy(facts["accuracy"], facts.get("accuracy_images"), facts.get("interval"), what)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _accuracy(accuracy: float, images: Any, interval: Any, what: str) -> str:
    if interval is None and isinstance(images, int) and images > 0:
        interval = Share(round(accuracy * images), images).interval
    text = f"accuracy: {accuracy:.2%} on {what}"
    if isinstance(images, int):
        text += f", n = {images:,}"
    if isinstance(interval, list | tuple) and len(interval) == 2 and all(map(_is_share, interval)):
        text += f", 95 % interval {interval[0]:.2%} to {interval[1]:.2%}"
    return text


def _cost(model: Model, card: Mapping[str, Any] | None) -> str:
    cost = model.network.cost()
    counted = [
        f"{cost.params:,} parameters",
        f"{cost.flops:,} multiply-accumulates for one input, {2 * cost.flops:,} FLOPs counted as two each",
        f"{cost.activations:,} activations (output elements of convolutions)",
    ]
    section = _section("Cost", counted)
    return section if card is None else f"{section}\n\n{_measured(card)}"


def _measured(card: Mapping[str, Any]) -> str:
    rows = [
        f"| {as_text(m['device'])}, {as_text(_processor(m))} | {m['threads']} | {m['dtype']} | {m['batch']} "
        f"| {1000 * m['latency_seconds']['median']:.3g} ms ({m['latency_seconds']['n']} passes) "
        f"| {m['images_per_second']:,.3g} | {_megabytes(card, m['batch'])} |"
        for m in card["measured"]
    ]
    head = "| device | threads | dtype | batch | median latency | images/s | peak memory |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _processor(measured: Mapping[str, Any]) -> str:
    return str(measured["machine"]["cpu" if measured["device"] == "cpu" else "device"])


def _megabytes(card: Mapping[str, Any], batch: int) -> str:
    return f"{card['peak_memory'][str(batch)] / 1e6:,.1f} MB"


def _input(model: Model) -> str:
    if model.mean is None or model.std is None:
        return "No form normalises its input; this network was never trained and asks for no normalisation."
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (model.mean, model.std))
    normalised = (
        f"No form normalises its input. Scale pixels to [0, 1], subtract the mean ({mean}) and divide by the "
        f"deviation ({std}) of each channel."
    )
    return " ".join(text for text in (normalised, Preparation.of(model.facts).text) if text)


def _classes(model: Model) -> str:
    if model.classes is None:
        return ""
    shown = [f"{index}. {as_text(name)}" for index, name in enumerate(model.classes[:MOST_CLASSES])]
    more = len(model.classes) - len(shown)
    rest = f"\n\nand {more:,} more, in model.json" if more else ""
    return "## Classes\n\nIn the order of the logits, from 0:\n\n" + "\n".join(shown) + rest


def _files(files: Sequence[str], checked: Iterable[Agreement], left_out: Mapping[str, str]) -> str:
    lines = [f"`{name}`: {what}" for name, what in _FILES.items() if name in files]
    for form in dict.fromkeys(one.form for one in checked):
        own = [one for one in checked if one.form == form]
        worst = max(one.difference for one in own)
        lines.append(
            f"`{form}` agrees with the network within {worst:.2g} of the largest logit "
            f"(allowed: {own[0].tolerance:g}), on {' and '.join(str(one.batch) for one in own)} inputs"
        )
    lines += [f"`{name}` is left out: {as_text(why)}" for name, why in left_out.items()]
    return _section("Files and checks", lines)
