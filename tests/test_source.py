"""The exported file against the module that is built here: names, weights, outputs, and safety."""

import ast
import builtins
import inspect
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_weights import empty, filled, logits, theirs
from safetensors.torch import save_file
from strategies import networks

from scalesearch import build, load
from scalesearch.architecture.layers import (
    Act,
    Concat,
    Conv,
    Gate,
    GlobalPool,
    Norm,
    Pool,
    Residual,
    Sequence,
    Shuffle,
    conv_unit,
)
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.operators import OPERATORS, Operator
from scalesearch.documents import known_networks, names
from scalesearch.errors import InputError
from scalesearch.handover.source import class_name, source
from scalesearch.handover.source_calls import Writer
from scalesearch.training.weights import load_torchvision

MOST_LINES = 350  # of the file of any shipped network, the one with 79 blocks included


def _import_of_others(name, *arguments, **options):
    if name.split(".")[0] == "scalesearch":
        raise ImportError("the exported file must not import scalesearch")
    return __import__(name, *arguments, **options)


def executed(text, name):
    """The class of a file, run as a module that cannot import scalesearch."""
    namespace = {
        "__name__": "network",
        "__builtins__": {**vars(builtins), "__import__": _import_of_others},
    }
    exec(compile(text, "network.py", "exec"), namespace)
    return namespace[name]


def exported(network):
    return executed(source(network), class_name(network))


def seeded(make, *arguments, seed=3):
    torch.manual_seed(seed)
    with torch.no_grad():
        return make(*arguments)


def layout(module):
    return [(name, tensor.shape, tensor.dtype) for name, tensor in module.state_dict().items()]


def assert_same(network):
    """The class of the file is the network: same start, same layout, same outputs, same cost."""
    ours, written = seeded(build, network), seeded(exported(network))
    assert layout(written) == layout(ours)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), written.parameters(), strict=True))
    assert sum(p.numel() for p in written.parameters()) == network.cost().params
    state = filled(build, network)
    for module in (ours, written):
        module.load_state_dict(state)
    x = torch.randn(2, network.in_channels, *network.input.size, generator=torch.Generator().manual_seed(2))
    for mode in (True, False):
        expected = seeded(ours.train(mode), x)
        assert expected.shape == (2, network.classes)
        assert torch.equal(seeded(written.train(mode), x), expected)


def ruff(folder, *arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "--isolated", "--line-length", "110", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_tidy(folder):
    for arguments in (("format", "--diff"), ("check", "--select", "E,F,I", "--no-cache")):
        done = ruff(folder, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("operators", [*((name,) for name in OPERATORS), tuple(OPERATORS)], ids="+".join)
@pytest.mark.usefixtures("one_thread")
def test_file_of_a_random_network_is_the_built_network(operators, dims, tmp_path):
    @settings(max_examples=3, deadline=None, derandomize=True)
    @given(networks(operators, largest=24 if dims == 2 else 12, dims=dims))
    def check(network):
        assert_same(network)
        (tmp_path / f"network{len(list(tmp_path.iterdir()))}.py").write_text(source(network))

    check()
    assert_tidy(tmp_path)


@cache
def written(name):
    return source(load(name))


# The base of every document, and with the long tier every variant.
SHIPPED = [n if n in names("network") else pytest.param(n, marks=pytest.mark.long) for n in known_networks()]


@pytest.mark.parametrize("name", SHIPPED)
def test_file_of_a_shipped_network_has_its_layout(name):
    network = load(name)
    assert layout(empty(executed(written(name), class_name(network)))) == layout(empty(build, network))


def test_files_of_all_shipped_networks_are_short_and_formatted_and_state_their_cost(tmp_path):
    for name in known_networks():
        text, cost = written(name), load(name).cost()
        assert len(text.splitlines()) <= MOST_LINES
        about = ast.get_docstring(ast.parse(text).body[-3])
        for number in (cost.params, cost.flops, 2 * cost.flops, cost.activations):
            assert f" {number:,}" in about
        (tmp_path / f"{name.replace('.', '_')}.py").write_text(text)
    assert_tidy(tmp_path)


LONG = [
    *(f"efficientnet_b{k}" for k in range(1, 8)),
    "efficientnet_v2_m",
    "efficientnet_v2_l",
    *(f"shufflenet_v2_x{width}" for width in ("1_0", "1_5", "2_0")),
]
SHORT = [
    "efficientnet_b0",
    "efficientnet_v2_s",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "shufflenet_v2_x0_5",
]


@pytest.mark.parametrize("name", [*SHORT, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_torchvisions_weights_give_its_logits_bit_for_bit(name):
    network, state = load(name), filled(theirs, name)
    expected = logits(empty(theirs, name), state)
    assert expected.std() > 0.01
    there = empty(executed(written(name), class_name(network)))
    assert torch.equal(logits(there, load_torchvision(state, network)), expected)


def _parts(in_channels, channels, stride, *, kernel=3, drop=0.0):
    """Names that are no identifiers, a keyword among them, and three levels of nesting."""
    unit = conv_unit(channels, kernel, stride, act="relu6").layers
    inner = Residual(Concat((Sequence(), conv_unit(channels // 2, kernel)), split=True), drop / 2)
    layers = (("0", Sequence(unit)), ("class", inner), ("it's \"\U0001f600", Act("sigmoid")))
    return Residual(Sequence((*layers, ("self", Shuffle(2)))), drop)


def _bare(in_channels, channels, stride, *, kernel=3, drop=0.0):
    """A block that is no sequence, and whose rate of stochastic depth is inside."""
    squeeze = (("pool", GlobalPool(keep=True)), ("conv", Conv(in_channels, bias=True)))
    left = Sequence((("gate", Gate(Sequence(squeeze))), ("down", conv_unit(channels // 2, 1, stride))))
    right = Sequence((("conv", Conv(channels // 2, kernel, stride, bias=kernel == 3)), ("norm", Norm())))
    deep = Residual(conv_unit(channels // 2, kernel), drop)
    return Concat((left, Sequence((("class", right), ("deep", deep)))))


def _pooled(in_channels, channels, stride, *, kernel=3):
    """Pooling with windows that differ between the blocks; rates that look like those of some block."""
    pools = tuple(Pool(kind, kernel, stride) for kind in ("max", "average"))
    fixed = tuple((f"fixed{k}", Residual(conv_unit(channels, 1), 0.05 * k)) for k in (2, 5))
    mix = (("mix", conv_unit(channels, 1)), *fixed, ("act", Act("hardsigmoid")))
    return Sequence((("pools", Concat(pools)), *mix))


def _frames(in_channels, channels, stride, *, kernel=3):
    """Kernels of another size over time than over space, which differ between the blocks."""
    return conv_unit(channels, (1, kernel, kernel), (1, stride, stride), act="silu")


def _stages(operator):
    rows = ((8, 2, 1, 3), (16, 3, 2, 5), (16, 2, 1, 5), (12, 1, 1, 7))
    return tuple(Stage(operator, c, n, s, (("kernel", k),)) for c, n, s, k in rows)


@pytest.mark.parametrize(
    ("block", "dims"),
    [(_parts, 2), (_parts, 3), (_bare, 2), (_bare, 3), (_pooled, 2), (_pooled, 3), (_frames, 3)],
)
@pytest.mark.usefixtures("one_thread")
def test_operator_that_is_added_later_is_exported_without_a_word_about_it(block, dims, monkeypatch, tmp_path):
    operator = f"{block.__name__} operator!"
    monkeypatch.setitem(OPERATORS, operator, Operator(block))
    network = Network(
        "later",
        (8, 17, 15)[3 - dims :],
        Stem(8),
        (*_stages(operator), Stage("mbconv", 16, 2)),
        Head(24),
        classes=5,
        dims=dims,
        drop_path=0.5,
    )
    assert_same(network)
    (tmp_path / "network.py").write_text(source(network))
    assert_tidy(tmp_path)


def test_layer_kind_without_a_case_is_refused():
    @dataclass(frozen=True)
    class Unknown:
        pass

    with pytest.raises(TypeError, match="no source for the layer kind Unknown"):
        Writer(load("mobilenet_v2")).call(Unknown(), load("mobilenet_v2").input)


def small(**changes):
    stages = (Stage("mbconv", 16, 3, 2), Stage("shufflenet_v2", 24, 2, 2))
    return replace(Network("small", 32, Stem(8), stages, Head(24), classes=7, drop_path=0.2), **changes)


def stripped(text, name):
    """A file's syntax without its docstrings, its class under one name."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
        if isinstance(node, ast.ClassDef) and node.name == name:
            node.name = "Network"
        if isinstance(node, ast.Name) and node.id == name:
            node.id = "Network"
    return ast.dump(tree)


@cache
def harmless():
    return stripped(source(small()), "Small")


HOSTILE = [
    '"""\nimport os\nos.abort()\n"""',
    "'''\\",
    '\\"""',
    "{__import__('os').abort()}",
    "%s {0} {network.name!r} \\N{BULLET} \\x22\\x22\\x22",
    "class",
    "None",
    "tensor",
    "Tensor",
    "Residual",
    "F",
    "main",
    "Exception",
    "network",
    "3d_net",
    "",
    " \t\r\n\f\v\0",
    "  leading, trailing  ",
    "-",
    "net" * 2000,
    "a b\u2028c\u2029d\u202ee\x85f",
    "\u05d0\u0660\u00b2\ufb01\u2126\ud800",
    "\uff22\uff22" * 50,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All files with a name that tries to be something else; checked once at the end."""
    made = tmp_path_factory.mktemp("hostile")
    yield made
    assert_tidy(made)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.text(max_size=80))
@example("".join(HOSTILE))
def _never_more_than_a_name(folder, text):
    network = small(name=text)
    name = class_name(network)
    assert name.isidentifier()
    assert name.isascii()
    assert len(name) <= 67
    assert not hasattr(builtins, name)
    written = source(network)
    assert written.isascii()
    assert stripped(written, name) == harmless()
    (folder / f"network{len(list(folder.iterdir()))}.py").write_text(written)


def test_name_never_becomes_more_than_a_name(folder):
    _never_more_than_a_name(folder)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_name_gives_a_file_that_runs(name, folder):
    _never_more_than_a_name.hypothesis.inner_test(folder, name)
    assert issubclass(exported(small(name=name)), torch.nn.Module)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("efficientnet_b0", "EfficientNetB0"),
        ("efficientnet_v2_s", "EfficientNetV2S"),
        ("mobilenet_v2_1.0", "MobileNetV2_1_0"),
        ("shufflenet3d_v2", "ShuffleNet3dV2"),
        ("run-7/best", "Run7Best"),
        ("net", "Net"),
        ("caf\u00e9", "Cafe"),
    ],
)
def test_class_has_the_name_of_the_network(name, expected):
    assert class_name(small(name=name)) == expected


class Evil(int):
    def __repr__(self):
        return "__import__('os').abort()"

    __str__ = __format__ = __index__ = __repr__


class EvilRate(float):
    def __repr__(self):
        return "__import__('os').abort()"

    def __format__(self, _spec):
        return repr(self)


def test_number_with_a_text_of_its_own_is_written_as_a_number():
    for changed in (
        {"norm_eps": EvilRate(1e-3)},
        {"drop_path": EvilRate(0.2)},
        {"head": Head(24, dropout=EvilRate(0.2))},
        {"classes": Evil(7)},
        {"resolution": (Evil(32), 32)},
        {"stem": Stem(Evil(8), Evil(5))},
        {"stages": (Stage("mbconv", Evil(16), 3, Evil(2)),)},
    ):
        assert "abort" not in source(small(**changed))


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_number_that_python_cannot_write_is_refused(number):
    with pytest.raises(InputError, match="must be finite, but got"):
        source(small(norm_momentum=number))


def test_other_classes_change_the_classifier_alone():
    network = small()
    ours, other = layout(empty(exported(network))), layout(empty(exported(network), classes=3))
    assert [name for one, (name, *_) in zip(ours, other, strict=True) if one[0] != name] == []
    changed = [name for (name, shape, _), (_, there, _) in zip(ours, other, strict=True) if shape != there]
    assert changed == ["head.classifier.weight", "head.classifier.bias"]


BLOCKED = """
import runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "scalesearch":
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
try:
    import scalesearch
except ImportError:
    pass
else:
    raise SystemExit("scalesearch can be imported")
module = runpy.run_path("network.py", run_name="__main__")
import torch
from safetensors.torch import load_file
network = module[sys.argv[1]]().eval()
network.load_state_dict(load_file("weights.safetensors"))
with torch.no_grad():
    torch.save(network(torch.load("images.pt")), "logits.pt")
"""


def test_file_and_weights_alone_give_the_same_logits_in_another_process(tmp_path):
    network = small()
    module, state = build(network).eval(), filled(build, network)
    images = torch.randn(2, 3, 32, 32)
    expected = logits_of(module, state, images)
    (tmp_path / "network.py").write_text(source(network))
    save_file(state, tmp_path / "weights.safetensors")
    torch.save(images, tmp_path / "images.pt")
    command = [sys.executable, "-I", "-c", BLOCKED, class_name(network)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{network.cost().params:,} parameters, output of shape (1, 7)\n"
    assert torch.equal(torch.load(tmp_path / "logits.pt"), expected)


def logits_of(module, state, images):
    module.load_state_dict(state)
    with torch.no_grad():
        return module(images)


def test_file_can_be_exported_by_torch():
    network = small()
    module = exported(network)().eval()
    images = torch.randn(2, 3, 32, 32)
    program = torch.export.export(module, (images,))
    with torch.no_grad():
        assert torch.equal(program.module()(images), module(images))


def test_parts_that_are_not_used_are_not_written():
    defined = {n.name for n in ast.parse(written("mobilenet_v1")).body if isinstance(n, ast.ClassDef)}
    assert defined == {"GlobalPool", class_name(load("mobilenet_v1"))}
    assert "scalesearch" not in inspect.cleandoc(written("efficientnet_b0"))
