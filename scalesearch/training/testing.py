"""A trained network's answers, one an image, from its stored weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from scalesearch.architecture.network import Network
from scalesearch.errors import InputError
from scalesearch.training.augment import DeviceData, evaluation_batches
from scalesearch.training.build import build


def trained(network: Network, weights: Path) -> nn.Module:
    """Return a network with its stored weights; InputError where they are damaged, or another network's."""
    model = build(network)
    try:
        model.load_state_dict(load_file(weights))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{weights}: no whole weights of the network {network.name}: {reason}") from error
    return model


@torch.no_grad()
def right_answers(
    network: Network, weights: Path, images: Tensor, labels: Tensor, data: DeviceData
) -> NDArray[np.bool_]:
    """Return for each image whether the network classifies it right, in eval mode at its own resolution.

    Args:
        network: with the data's classes.
        weights: as `loop.train` wrote them for this network.
        images: (n, 3, height, width) uint8, on the device of `data`.
        labels: (n,) int64, likewise.
        data: whose training images the inputs are normalised by.

    Returns:
        (n,), in the order of the images.

    Raises:
        InputError: the weights are damaged, or another network's.
    """
    device = data.mean.device
    model = trained(network, weights)
    model.to(device).to(memory_format=torch.channels_last).eval()
    answers = []
    for x, targets in evaluation_batches(images, labels, tuple(network.input.size), data):
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(x)
        answers.append(logits.float().argmax(1) == targets)
    right: NDArray[np.bool_] = torch.cat(answers).cpu().numpy()
    return right
