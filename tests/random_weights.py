"""Random weights for this project's modules and torchvision's, without initialising either."""

import torch
import torchvision


def empty(make, *arguments, **options):
    """A module without memory for its tensors: they are handed to it, not copied."""
    with torch.device("meta"):
        return make(*arguments, **options).eval()


def filled(make, *arguments, **options):
    """A state dict of random weights, biases and batch norm statistics, all different from torch's start."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, tensor in empty(make, *arguments, **options).state_dict().items():
        if not tensor.dtype.is_floating_point:
            state[name] = torch.tensor(7)
        elif tensor.dim() > 1:
            fan_in = tensor[0].numel()
            state[name] = torch.randn(tensor.shape, generator=generator) * fan_in**-0.5
        elif name.endswith(("weight", "running_var")):
            state[name] = torch.rand(tensor.shape, generator=generator) + 0.5
        else:
            state[name] = torch.randn(tensor.shape, generator=generator) * 0.1
    return state


def logits(module, state, side=64):
    module.load_state_dict(state, assign=True)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return module(images)


def theirs(name, **options):
    return torchvision.models.get_model(name, **options)
