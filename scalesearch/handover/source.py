"""The exported `network.py`: one plain-PyTorch file, written from the network's layers."""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
from dataclasses import replace

from scalesearch.architecture.layers import Shape
from scalesearch.architecture.network import Network
from scalesearch.architecture.operators import OPERATORS
from scalesearch.handover.source_blocks import Function, factored, repeated, stages
from scalesearch.handover.source_calls import Argument, Call, Name, Writer
from scalesearch.handover.source_parts import needed, reserved_names, used_names
from scalesearch.handover.source_text import LONGEST_NAME, WIDTH, Group, ascii_text, group, lines, literal

__all__ = ["class_name", "source"]

_CLASSIFIER = "classifier"


def class_name(network: Network) -> str:
    """Return the name of the file's class, made from the network's: `efficientnet_b0` is EfficientNetB0.

    Any text gives a valid name: other than ASCII letters and digits are left out, a digit in front and a
    name that Python or the file has for something else are avoided, and it has at most 67 letters.
    """
    words = re.findall(r"[A-Za-z0-9]+", ascii_text(network.name, LONGEST_NAME))
    name = ""
    for word in words:
        joint = "_" if name[-1:].isdigit() and word[0].isdigit() else ""
        name += joint + re.sub(r"(?<=.)net(?=\d|$)", "Net", word[0].upper() + word[1:])
    if not name or name[0].isdigit():
        name = f"Network{name}"
    taken = keyword.iskeyword(name) or hasattr(builtins, name) or name in reserved_names()
    return f"{name}Network" if taken else name


def source(network: Network) -> str:
    """Return the text of a file that needs torch alone and whose class is `network`.

    The class has the names, order and shapes of the state dict of `build(network)`, starts from the same
    weights for an equal seed, and computes the same, bit for bit. Nothing of the network's document is in
    it but checked numbers and a cleaned name. InputError where a number is not finite.
    """
    writer, name = Writer(network), class_name(network)
    in_stages = list(stages(network, writer))
    reserved = {*reserved_names(), name}
    functions, calls = factored([block for stage in in_stages for block in stage], reserved)
    ahead = iter(calls)
    staged = [Call("numbered", _arguments([next(ahead) for _ in stage])) for stage in in_stages]
    own = [
        *(_function(function) for function in functions),
        _class(network, name, staged, writer),
        _main(network, name),
    ]
    body = "\n\n\n".join(own)
    helpers = needed(body)
    text = "\n\n\n".join((helpers, body, 'if __name__ == "__main__":\n    main()\n'))
    return f"{_header(network, name, text)}\n\n\n{text}"


def _arguments(calls: list[Call]) -> tuple[Argument, ...]:
    return tuple(Argument("", call, keyword=False) for call in repeated(calls))


def _header(network: Network, name: str, text: str) -> str:
    imports = "import torch\n"
    if "F" in used_names(text):
        imports += "import torch.nn.functional as F\n"
    return (
        f'"""{name} in plain PyTorch.\n\nNeeds Python 3.10 or newer, and torch.\n"""\n\n'
        f"from collections import OrderedDict\nfrom pathlib import Path\n\n"
        f"{imports}from torch import Tensor, nn"
    )


def _function(function: Function) -> str:
    parameters = tuple(("", f"{name}: {annotation}") for name, annotation in function.parameters)
    signature = Group(f"def {function.name}(", parameters, ") -> nn.Module:")
    about = ascii_text((inspect.getdoc(OPERATORS[function.operator].block) or "").split("\n")[0], WIDTH - 10)
    about = about or f"Return one block of {ascii_text(function.operator, LONGEST_NAME)}."
    body = lines(group(function.body), 4, "return ")
    return f'{lines(signature, 0)}\n    """{about}"""\n{body}'


def _class(network: Network, name: str, staged: list[Call], writer: Writer) -> str:
    (_, stem), *named_stages, (_, head) = network.layers().layers
    names = [stage for stage, _ in named_stages]
    x = network.input
    for _, layer in network.layers().layers[:-1]:
        x = layer.out(x)
    parts = (writer.call(stem, network.input), *staged, _with_classes(writer.call(head, x)))
    made = [
        lines(group(part), 8, f"self.{attribute} = ")
        for attribute, part in zip(("stem", *names, "head"), parts, strict=True)
    ]
    passed = [f"        x = self.{attribute}(x)" for attribute in ("stem", *names)]
    return "\n".join(
        (
            f"class {name}(nn.Module):",
            f'    """{_about(network)}\n    """',
            "",
            f"    def __init__(self, classes: int = {literal(network.classes)}) -> None:",
            "        super().__init__()",
            *made,
            "        initialise(self)",
            "",
            "    def forward(self, x: Tensor) -> Tensor:",
            f'        """Map {_batch(network.input)} to logits (n, classes)."""',
            *passed,
            "        return self.head(x)",
        )
    )


def _with_classes(head: Call) -> Call:
    *before, last = head.arguments
    if last.name != _CLASSIFIER:
        raise TypeError(f"a head ends with its classifier, but got {last.name}")
    fan_in, _ = last.value.arguments
    classifier = Call(last.value.function, (fan_in, Argument("channels", Name("classes"), keyword=False)))
    return Call(head.function, (*before, replace(last, value=classifier)))


def _batch(x: Shape) -> str:
    return f"(n, {', '.join(literal(number) for number in (x.channels, *x.size))})"


def _about(network: Network) -> str:
    cost, x = network.cost(), network.input
    rows = (
        ("parameters", cost.params, ""),
        ("MACs", cost.flops, "FLOPs as multiply-accumulates of convolutions and linear layers"),
        ("FLOPs", 2 * cost.flops, "each multiply-accumulate counted twice"),
        ("activations", cost.activations, "output elements of all convolutions"),
    )
    what = "image" if network.dims == 2 else "video"
    size = "x".join(literal(side) for side in x.size)
    return "\n".join(
        (
            f"{ascii_text(network.name, LONGEST_NAME) or 'A network'}: {_batch(x)} to logits"
            f" (n, {literal(network.classes)}).",
            "",
            f"    Cost of one {what} of {size}:",
            *(
                f"        {name:<11} {number:>17,}{f'  ({note})' if note else ''}"
                for name, number, note in rows
            ),
            "",
            "    Args:",
            "        classes: outputs of the classifier, for a new head on the same trunk.",
        )
    )


def _main(network: Network, name: str) -> str:
    return f'''def main() -> None:
    """Build the network, load weights.safetensors from beside this file if it is there, and run it once."""
    network = {name}().eval()
    weights = Path(__file__).with_name("weights.safetensors")
    if weights.exists():
        from safetensors.torch import load_file

        network.load_state_dict(load_file(weights))
    with torch.no_grad():
        logits = network(torch.zeros{_batch(network.input).replace("n", "1", 1)})
    params = sum(parameter.numel() for parameter in network.parameters())
    print(f"{{params:,}} parameters, output of shape {{tuple(logits.shape)}}")'''
