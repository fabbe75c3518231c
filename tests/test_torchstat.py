"""torchstat's figures, receptive fields and savings: against hooks, gradients, closed forms and tables."""

import json
from dataclasses import replace
from itertools import pairwise
from math import prod

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import networks
from test_imports import command, loaded
from test_published import run
from torch import nn

from scalesearch import build, load
from scalesearch.architecture.document import from_document
from scalesearch.architecture.network import Stage
from scalesearch.architecture.receptive import Field, receptive_field, separation
from scalesearch.architecture.torchstat import torchstat
from scalesearch.training.build import GlobalPool, Shuffle

CONVS, NORMS = (nn.Conv2d, nn.Conv3d), (nn.BatchNorm2d, nn.BatchNorm3d)
MAX_POOLS, AVERAGE_POOLS = (nn.MaxPool2d, nn.MaxPool3d), (nn.AvgPool2d, nn.AvgPool3d)

# torchstat 0.0.7 at 224 pixels: MAdd, Flops, MemR+W in bytes, and elements of torchvision's module tree.
FIXTURES = {
    "efficientnet_v2_s": ("efficientnet_v2_s", 5_736_265_560, 2_874_247_608, 281_008_192, 140.82),
    "efficientnet_b0": ("efficientnet_b0", 791_841_592, 399_299_484, 129_392_400, 75.81),
    "mobilenet_v2_1.0": ("mobilenet_v2", 627_687_672, 320_236_288, 170_075_968, 74.25),
    "shufflenet_v2_x1_0": ("shufflenet_v2_x1_0", 297_755_728, 150_597_480, 54_080_208, 20.85),
}


def counted(layer, source, out):
    """torchstat's rules for one leaf module: MAdd, Flops, output elements, elements read and written."""
    read, written = source.numel(), out.numel()
    params = sum(p.numel() for p in layer.parameters())
    if isinstance(layer, CONVS):
        work, bias = layer.weight[0].numel(), layer.bias is not None
        return written * (2 * work - 1 + bias), written * (work + bias), written, read + params + written
    if isinstance(layer, nn.Linear):
        features = layer.in_features
        return written * (2 * features - 1), written * features, written, read + params + written
    if isinstance(layer, NORMS):
        return 4 * read, 2 * read, written, 2 * read + params
    if isinstance(layer, nn.ReLU | nn.ReLU6):
        return read, read, written, read + written
    if isinstance(layer, (*MAX_POOLS, *AVERAGE_POOLS)):
        kernel = layer.kernel_size
        window = prod(kernel) if isinstance(kernel, tuple) else kernel ** (source.dim() - 2)
        madd = (window - isinstance(layer, MAX_POOLS)) * written
        return madd, read, written, read + written
    return 0, 0, written, 0


def hooked(module, size):
    """The four sums over the leaf modules that run; shapes alone, so on the meta device."""
    sums = [0, 0, 0, 0]

    def hook(layer, inputs, out):
        for index, number in enumerate(counted(layer, inputs[0], out)):
            sums[index] += number

    for part in module.modules():
        if not list(part.children()):
            part.register_forward_hook(hook)
    with torch.no_grad():
        module.eval()(torch.zeros(1, 3, *size, device="meta"))
    return sums


@pytest.mark.parametrize("name", FIXTURES)
def test_torchstats_own_figures_at_224_are_reproduced(name):
    network = replace(load(name), resolution=224)
    _, madd, flops, read_write, _ = FIXTURES[name]
    found = torchstat(network.layers(), network.input)
    assert (found.madd, found.flops, found.memory_read_write) == (madd, flops, read_write)


def test_memory_of_the_plain_module_tree():
    network = replace(load("efficientnet_v2_s"), resolution=224)
    found = torchstat(network.layers(), network.input)
    assert found.elements == 38_005_144
    assert f"{found.memory_mb:.2f}" == "144.98"


@pytest.mark.parametrize("name", FIXTURES)
def test_rules_on_torchvisions_modules_give_the_same_figures_and_its_own_memory(name):
    torchvision_name, madd, flops, read_write, megabytes = FIXTURES[name]
    with torch.device("meta"):
        module = getattr(torchvision.models, torchvision_name)(weights=None)
    sums = hooked(module, (224, 224))
    assert (sums[0], sums[1], 4 * sums[3]) == (madd, flops, read_write)
    assert f"{sums[2] * 4 / 2**20:.2f}" == f"{megabytes:.2f}"


FUNCTIONS = (Shuffle, nn.Identity, nn.Sequential)  # what our module tree has and the plain one has not


def plain_tree_elements(module, size):
    """Outputs of the plain tree's leaf modules, from hooks on ours."""
    sums = [0]

    def count(times):
        return lambda _module, _inputs, out: sums.append(times * out.numel())

    for part in module.modules():
        children = list(part.children())
        if children and isinstance(part, nn.Sequential) and isinstance(children[-1], NORMS):
            part.register_forward_hook(count(1))  # an Identity in place of the activation
        elif isinstance(part, GlobalPool):
            part.register_forward_hook(count(0 if part.keep else 2))  # pool and flatten; a mean in the gate
        elif not children and not isinstance(part, FUNCTIONS):
            part.register_forward_hook(count(1))
    with torch.no_grad():
        module.eval()(torch.zeros(1, 3, *size, device="meta"))
    return sum(sums)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([2, 3]).flatmap(lambda dims: networks(largest=20, dims=dims)))
def test_random_networks_have_the_figures_that_hooks_count(network):
    with torch.device("meta"):
        module, again = build(network), build(network)
    madd, flops, _, read_write = hooked(module, network.input.size)
    found = torchstat(network.layers(), network.input)
    assert (found.madd, found.flops, found.read_write) == (madd, flops, read_write)
    assert found.elements == plain_tree_elements(again, network.input.size)


def test_drop_path_counts_in_memory_alone():
    dropping, plain = load("efficientnet_b0"), replace(load("efficientnet_b0"), drop_path=0.0)
    found, without = (torchstat(n.layers(), n.input) for n in (dropping, plain))
    # Outputs of the nine blocks with a shortcut.
    outs = 24 * 56**2 + 40 * 28**2 + 2 * 80 * 14**2 + 2 * 112 * 14**2 + 3 * 192 * 7**2
    assert found.elements - without.elements == outs
    assert (found.madd, found.flops, found.read_write) == (without.madd, without.flops, without.read_write)


def test_unknown_layer_kind_is_an_error_and_no_zero():
    with pytest.raises(TypeError, match="no figures for the layer kind object"):
        torchstat(object(), load("efficientnet_b0").input)


def small(operator, dims=2, stem_stride=2, **options):
    rows = [
        {"operator": operator, "channels": 24, "repeats": 1, "stride": 2, "kernel": 5, **options},
        {"operator": operator, "channels": 24, "repeats": 2, "stride": 1, "kernel": 3, **options},
    ]
    size = 79 if dims == 2 else [22, 70, 70]
    return from_document(
        {"name": "small", "resolution": size, "dims": dims, "classes": 2}
        | {"stem": {"channels": 8, "stride": stem_stride, "act": "relu"}, "stages": rows}
    )


def extent(network):
    """How far the gradient of one position in the middle of the last stage reaches, a dimension."""
    module = build(network).double().eval()
    for name, parameter in module.named_parameters():
        if "conv.weight" in name:
            nn.init.uniform_(parameter, 0.5, 1.0)  # positive everywhere: nothing cancels, no ReLU closes
    image = torch.rand(1, 3, *network.input.size, dtype=torch.float64, requires_grad=True)
    maps = nn.Sequential(*list(module.children())[:-1])(image)
    middle = tuple(n // 2 for n in maps.shape[2:])
    maps[(0, slice(None), *middle)].sum().backward()
    seen = image.grad[0].abs().sum(0) > 0
    axes = range(seen.dim())
    return tuple(int(seen.any(dim=[a for a in axes if a != axis]).sum()) for axis in axes)


@pytest.mark.parametrize(
    "network",
    [
        small("depthwise_separable"),
        small("mbconv", se=0, act="relu", expand=2),
        small("fused_mbconv", act="relu", expand=2),
        small("mobilenet_v3", se=0, act="relu", expand=2),
        small("shufflenet_v1", groups=1),
        small("shufflenet_v2"),
        small("depthwise_separable", dims=3, stem_stride=[1, 2, 2]),
    ],
    ids=lambda network: f"{network.stages[0].operator}-{network.dims}",
)
def test_receptive_field_is_as_far_as_the_gradient_reaches(network):
    field = receptive_field(network.layers(), Field.of_input(network.dims))
    assert extent(network) == field.size
    assert all(extent < side for extent, side in zip(field.size, network.input.size, strict=True))


def test_receptive_field_of_mobilenet_v1_is_the_published_one():
    # Araujo et al. 2019, "Computing receptive fields of convolutional neural networks": 315 with stride 32.
    field = receptive_field(load("mobilenet_v1_1.0").layers(), Field.of_input(2))
    assert field == Field((315, 315), (32, 32))


def blocks(network):
    """Each block with the shape that goes in and the one that comes out."""
    x = network.input
    for name, part in network.layers().layers:
        for _, block in part.layers if name.startswith("s") and name != "stem" else ():
            yield block, x, block.out(x)
            x = block.out(x)
        x = part.out(x) if name == "stem" else x


def test_saving_of_the_13_pairs_of_mobilenet_v1():
    pairs = list(blocks(load("mobilenet_v1_1.0")))
    assert len(pairs) == 13
    for block, x, y in pairs:
        found = separation(block, x)
        assert found.pairs == 1
        assert abs(found.saving - (1 / y.channels + 1 / 9)) < 1e-12


def test_mobilenet_v1_against_its_full_convolutions():
    network = load("mobilenet_v1_1.0")
    found = separation(network.layers(), network.input)
    assert (found.flops, found.full, found.pairs) == (568_740_352, 4_867_293_184, 13)


@pytest.mark.parametrize("dims", [2, 3])
def test_saving_of_an_expanded_block_keeps_all_but_the_pair(dims):
    network = small("mbconv", dims, se=0.25, expand=6)
    for (block, x, y), kernel in zip(blocks(network), (5, 3, 3), strict=True):
        hidden, squeeze, sides = 6 * x.channels, x.channels // 4, prod(y.size)
        volume = kernel**dims
        kept = x.channels * hidden * prod(x.size) + 2 * hidden * squeeze
        pair = (volume + y.channels) * hidden * sides
        found = separation(block, x)
        assert found.flops == block.cost(x).flops == kept + pair
        assert found.full == kept + volume * hidden * y.channels * sides


@settings(max_examples=30, deadline=None)
@given(networks())
def test_separation_counts_every_flop_once_and_every_depthwise_convolution(network):
    found = separation(network.layers(), network.input)
    per_block = {
        "shufflenet_v1": 1,
        "mbconv": 1,
        "mobilenet_v3": 1,
        "depthwise_separable": 1,
        "fused_mbconv": 0,
    }
    pairs, widths = 0, [network.stem.channels, *(stage.channels for stage in network.stages)]
    for stage, (before, after) in zip(network.stages, pairwise(widths), strict=True):
        two_branches = stage.operator == "shufflenet_v2" and (stage.stride == 2 or before != after)
        pairs += per_block.get(stage.operator, 1) * stage.repeats + two_branches
    assert found.flops == network.cost().flops
    assert found.pairs == pairs


def test_nothing_is_saved_where_nothing_is_separated():
    network = replace(load("efficientnet_v2_s"), stages=(Stage("fused_mbconv", 24, 2),))
    assert separation(network.layers(), network.input).saving is None


def test_show_gives_the_figures_a_stage_and_in_total(monkeypatch, capsys):
    arguments = ("show", "efficientnet_v2_s", "--resolution", "224")
    code, out, _ = run(monkeypatch, capsys, *arguments, "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["torchstat"] == {
        "madd": 5_736_265_560,
        "flops": 2_874_247_608,
        "memory_mb": pytest.approx(144.97812, abs=1e-5),
        "memory_read_write": 281_008_192,
    }
    rows = [shown["stem"], *shown["stages"], shown["head"]]
    for figure in shown["torchstat"]:
        assert sum(row["torchstat"][figure] for row in rows) == pytest.approx(shown["torchstat"][figure])
    assert [row["saving"] is None for row in shown["stages"]] == [True, True, True, False, False, False]
    assert [row["receptive_field"] for row in rows] == sorted(row["receptive_field"] for row in rows)
    code, out, _ = run(monkeypatch, capsys, *arguments)
    for figure in ("5,736,265,560", "2,874,247,608", "144.98", "281,008,192", "21,458,488"):
        assert figure in out
    assert loaded(command(*arguments)) == []


def test_show_gives_one_receptive_field_a_dimension_of_video(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "show", "seed_shufflenet3d_v1_g3", "--json")
    stem = json.loads(out)["stem"]  # frames are not strided by the convolution, but by the pool
    assert stem["receptive_field"] == [5, 7, 7]
