"""An exported model in a program that knows nothing of scalesearch: torch, safetensors and Pillow alone.

    scalesearch export runs/trained/best --to net
    python examples/use_the_exported_model.py net photo.jpg another.jpg

Images are brought to the network's size in one step. `scalesearch predict` goes by the size at which the
training kept its images, where that is another, as the training's own evaluation did: shares differ a little.

With --onnx, ONNX Runtime runs network.onnx in place of network.py and weights.safetensors.
"""

import argparse
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn


def with_torch(folder: Path) -> nn.Module:
    """Return the network with its weights; model.json names the class in network.py."""
    name = json.loads((folder / "model.json").read_text())["class"]
    module: nn.Module = runpy.run_path(str(folder / "network.py"))[name]().eval()
    module.load_state_dict(load_file(folder / "weights.safetensors"))
    return module


def with_onnx(folder: Path) -> Callable[[Tensor], Tensor]:
    """Return the same network, run by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--onnx", action="store_true")
    asked = parser.parse_args()
    about = json.loads((asked.folder / "model.json").read_text())
    model = (with_onnx if asked.onnx else with_torch)(asked.folder)
    side, classes = about["resolution"][-1], about["classes"]
    mean, std = (torch.tensor(about[name]).view(3, 1, 1) for name in ("mean", "std"))
    for file in asked.images:
        image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        square = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)  # its middle
        pixels = torch.tensor(list(square.tobytes())).view(side, side, 3).permute(2, 0, 1) / 255
        with torch.inference_mode():
            shares = model(((pixels - mean) / std)[None]).softmax(1)[0]
        print(f"{file}: {classes[int(shares.argmax())]} {float(shares.max()):.1%}")


if __name__ == "__main__":
    main()
