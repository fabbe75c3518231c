"""Zero-cost scores: equal to plain formulas, alive on every operator, and nothing else is changed by them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from strategies import OPTIONS
from torch import nn

from scalesearch.architecture.layers import ACTIVATIONS
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.errors import InputError
from scalesearch.training.augment import stream_seed
from scalesearch.training.build import Gate, GlobalPool, build
from scalesearch.training.scores import SCORES, scores
from scalesearch.training.steps import INITIAL

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
IMAGES = 8
EXTRA = {"shufflenet_v1": (("groups", 2),), "mobilenet_v3": (("se", 0.25),), "mbconv": (("se", 0.25),)}


def network(operator, act="silu", repeats=1, width=8, head=12, resolution=8):
    options = (("act", act), *EXTRA.get(operator, ()))
    return Network(
        name=operator,
        resolution=resolution,
        stem=Stem(8, stride=1, act=act),
        stages=(Stage(operator, 2 * width, repeats, 2, options), Stage(operator, 4 * width, 1, 1, options)),
        head=Head(head, act=act),
        classes=5,
    )


def batch(network, count=IMAGES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, network.in_channels, *network.input.size, generator=generator)
    return images, torch.randint(network.classes, (count,), generator=generator)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=OPTIONS)
def operator(request):
    return request.param


@pytest.fixture(params=["relu", "silu"])
def act(request):
    return request.param


def built(network, seed=3):
    torch.manual_seed(seed)
    return build(network)


def value(name, network, model=None, count=IMAGES):
    images, labels = batch(network, count)
    return SCORES[name](model or built(network), images, labels, torch.Generator().manual_seed(1))


def loss_gradients(model, images, labels):
    """Weights and gradients of the mean cross entropy, spelled out, batch norm by the batch's statistics."""
    model.eval()
    for part in model.modules():
        part.train(isinstance(part, NORMS))
    model.zero_grad()
    logits = model(images)
    chosen = logits[torch.arange(len(labels)), labels]
    (logits.exp().sum(1).log() - chosen).mean().backward()
    kept = [p for name, p in model.named_parameters() if name.endswith("weight") and p.dim() > 1]
    return [(p.detach().numpy().ravel(), p.grad.numpy().ravel().copy()) for p in kept]


def test_grad_norm_is_the_sum_of_the_layers_gradient_norms(operator, act):
    net = network(operator, act)
    pairs = loss_gradients(built(net), *batch(net))
    expected = sum(math.sqrt(sum(float(g) ** 2 for g in gradient)) for _, gradient in pairs)
    assert value("grad_norm", net) == pytest.approx(expected, rel=1e-4)


def test_snip_is_the_sum_of_weight_times_gradient(operator, act):
    net = network(operator, act)
    pairs = loss_gradients(built(net), *batch(net))
    expected = sum(
        abs(float(w) * float(g)) for weight, grad in pairs for w, g in zip(weight, grad, strict=True)
    )
    assert value("snip", net) == pytest.approx(expected, rel=1e-4)


def test_zico_is_the_log_of_each_layers_inverse_variation_over_four_batches(operator, act):
    net = network(operator, act, head=None)
    images, labels = batch(net)
    model = built(net)
    cuts = [slice(start, start + IMAGES // 4) for start in range(0, IMAGES, IMAGES // 4)]
    batches = [[g for _, g in loss_gradients(model, images[cut], labels[cut])] for cut in cuts]
    expected = 0.0
    for layer in zip(*batches, strict=True):
        ratios = [
            sum(map(abs, gradients)) / 4 / np.std(gradients)
            for gradients in np.array(layer, dtype=np.float64).T.tolist()
            if len(set(gradients)) > 1
        ]
        expected += math.log(sum(ratios)) if ratios else 0.0
    assert value("zico", net) == pytest.approx(expected, rel=1e-3)


def absolute_flow(model, size):
    """The output for ones of the network with positive weights, without batch norm, activation and gate."""
    hooks = [
        part.register_forward_hook(lambda _part, inputs, _output: inputs[0])
        for name, part in model.named_modules()
        if isinstance(part, (Gate, *NORMS)) or name.split(".")[-1] == "act"
    ]
    with torch.no_grad():
        total = float(model(torch.ones(1, 3, *size, dtype=torch.float64)).sum())
    for hook in hooks:
        hook.remove()
    return total


def test_synflow_is_what_each_layers_removal_takes_from_the_flow(operator, act):
    # R is linear in each layer's weights alone, so that sum w dR/dw over a layer is R - R without it.
    net = network(operator, act, repeats=2)
    model = built(net).double().eval()
    weights = [p for name, p in model.named_parameters() if p.dim() > 1 and ".se." not in name]
    for weight in weights:
        weight.data.abs_()
    flow, total = absolute_flow(model, net.input.size), 0.0
    for weight in weights:
        kept = weight.data
        weight.data = torch.zeros_like(kept)
        total += flow - absolute_flow(model, net.input.size)
        weight.data = kept
    assert value("synflow", net) == pytest.approx(math.log(total), rel=1e-9)


def test_synflow_of_a_chain_is_the_product_of_its_weights_times_its_layers():
    stage = Stage("fused_mbconv", 6, 1, 1, (("expand", 1), ("kernel", 1)))
    net = Network("chain", 5, Stem(8, kernel=1, stride=1), (stage,), Head(7), classes=3)
    product = np.ones((1, 3))
    for weight in (p for p in built(net).parameters() if p.dim() > 1):
        matrix = weight.detach().double().abs().numpy()
        product = product @ matrix.reshape(len(matrix), -1).T
    assert value("synflow", net) == pytest.approx(math.log(4 * product.sum()), rel=1e-9)


def test_synflow_stays_finite_where_single_precision_would_not():
    net = network("fused_mbconv", repeats=40, width=32, resolution=3)
    assert math.log(torch.finfo(torch.float32).max) < value("synflow", net) < math.inf


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["mbconv", "shufflenet_v2"])
def test_naswot_counts_equal_signs_of_the_input_of_every_activation(kind, activation):
    net = network(kind, activation)
    images, _ = batch(net)
    model, codes = built(net), []
    for name, part in model.named_modules():
        if name.split(".")[-1] in ("act", "gate"):
            part.register_forward_hook(lambda _p, inputs, _o: codes.append(inputs[0].flatten(1) > 0))
    with torch.no_grad():
        model.train()(images)
    signs = torch.cat(codes, 1).numpy()
    kernel = [[sum(np.equal(a, b).tolist()) for b in signs] for a in signs]
    assert value("naswot", net) == pytest.approx(np.linalg.slogdet(np.array(kernel, float))[1], rel=1e-9)


def test_naswot_is_minus_infinity_for_equal_images():
    net = network("mbconv")
    images, labels = batch(net)
    images[1] = images[0]
    assert SCORES["naswot"](built(net), images, labels, torch.Generator()) == -math.inf


def with_fixed_statistics(model, images):
    """In eval mode with the statistics of `images`, by batch norm's plain mean over its batches."""
    for norm in (part for part in model.modules() if isinstance(part, NORMS)):
        norm.reset_running_stats()
        norm.momentum = None
    model.train()(images)
    return model.eval()


def test_jacob_cov_equals_jacobians_of_single_images(operator, act):
    net = network(operator, act)
    images, _ = batch(net)
    model = with_fixed_statistics(built(net), images)
    rows = [
        torch.autograd.functional.jacobian(lambda x: model(x[None]).sum(), image).numpy().ravel()
        for image in images
    ]
    centred = [row - row.mean() for row in np.array(rows, float)]
    correlation = [[a @ b / math.sqrt((a @ a) * (b @ b)) for b in centred] for a in centred]
    values = np.linalg.eigvals(np.array(correlation)).real + 1e-5
    assert value("jacob_cov", net) == pytest.approx(-sum(math.log(v) + 1 / v for v in values), rel=1e-3)


def test_jacob_cov_sees_images_through_a_final_batch_norm_without_activation():
    net = network("shufflenet_v1", head=None)
    linear_end = replace(net, stages=(Stage("mbconv", 16, 1, 2), Stage("mbconv", 24, 1, 1)))
    model = built(linear_end)
    images, _ = batch(linear_end)
    x = images.clone().requires_grad_()
    model.train()(x).sum().backward()
    assert float(x.grad.abs().max()) < 1e-5  # what differentiating through the statistics gives
    # Uncorrelated rows, as of rounding errors, would give -IMAGES.
    assert value("jacob_cov", linear_end, model) < -IMAGES - 0.1


def test_jacob_cov_is_minus_infinity_where_an_image_moves_no_logit():
    net = network("mbconv", "relu")
    model = built(net)
    nn.init.zeros_(model.head.classifier.weight)
    assert value("jacob_cov", net, model) == -math.inf


def chain(model):
    """The leaves before the global pooling in their order, gates left out."""
    gates = [name for name, part in model.named_modules() if isinstance(part, Gate)]
    for name, part in model.named_modules():
        if isinstance(part, GlobalPool) and not any(name.startswith(gate) for gate in gates):
            return
        inside = any(name.startswith(gate) for gate in gates)
        if not inside and not list(part.children()):
            yield part


@pytest.mark.parametrize("kind", ["mbconv", "fused_mbconv", "mobilenet_v3", "depthwise_separable"])
def test_zen_equals_a_chain_computed_by_hand(kind, act):
    net = network(kind, act, repeats=2)
    leaves = list(chain(built(net)))
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(p.weight.shape, generator=generator) for p in leaves if isinstance(p, nn.Conv2d)]
    shape = (IMAGES, 3, *net.input.size)
    clean, noise = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    # The first third is what the statistics are taken of: normalised by the biased variance while they are.
    maps = torch.cat([clean, clean, clean + 0.01 * noise])
    drawn, scale = iter(weights), 0.0
    for leaf in leaves:
        if isinstance(leaf, nn.Conv2d):
            maps = F.conv2d(maps, next(drawn), None, leaf.stride, leaf.padding, groups=leaf.groups)
        elif isinstance(leaf, NORMS):
            variance, mean = torch.var_mean(maps[:IMAGES], (0, 2, 3), keepdim=True)
            biased = maps[:IMAGES].var((0, 2, 3), correction=0, keepdim=True)
            used = torch.cat([biased.expand(IMAGES, -1, 1, 1), variance.expand(2 * IMAGES, -1, 1, 1)])
            maps = (maps - mean) / (used + leaf.eps).sqrt()
            scale += 0.5 * math.log(variance.mean())
        else:
            maps = leaf(maps)
    _, clean, noisy = maps.chunk(3)
    change = (clean - noisy).square().sum((1, 2, 3)).sqrt().mean()
    assert value("zen", net) == pytest.approx(math.log(change) + scale, rel=1e-4)


def test_scores_without_data_do_not_depend_on_images_and_zen_not_on_the_initial_weights(operator):
    net = network(operator)
    images, labels = batch(net)
    for name in ("synflow", "zen"):
        one, other = (scores(net, [name], x, labels, seed=0) for x in (images, images + 1))
        assert one == other
    assert value("zen", net, built(net, 1)) == value("zen", net, built(net, 2))


def test_every_score_is_finite_and_tells_networks_apart(operator, act):
    shapes = [(1, 8, 12), (3, 8, 12), (1, 16, None), (1, 24, 40)]
    nets = [network(operator, act, repeats, width, head) for repeats, width, head in shapes]
    rows = [scores(net, SCORES, *batch(net), seed=0) for net in nets]
    for name in SCORES:
        values = sorted(row[name] for row in rows)
        assert all(map(math.isfinite, values)), name
        assert min(np.diff(values)) > 1e-4 * np.ptp(values) > 0, name


def state(model):
    kept = {
        name: (tensor.clone(), tensor.requires_grad)
        for name, tensor in model.state_dict(keep_vars=True).items()
    }
    return kept, [part.training for part in model.modules()], [str(part) for part in model.modules()]


@pytest.mark.parametrize("name", SCORES)
def test_a_score_leaves_the_module_the_batch_and_the_generators_as_they_were(name, operator):
    net = network(operator)
    model = built(net)
    model.stem.eval()
    model.head.classifier.requires_grad_(False)
    (images, labels), (same_images, same_labels) = batch(net), batch(net)
    tensors, modes, parts = state(model)
    drawn = torch.get_rng_state()
    SCORES[name](model, images, labels, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), drawn)
    after, modes_after, parts_after = state(model)
    assert modes == modes_after
    assert parts == parts_after
    assert tensors.keys() == after.keys()
    for key, (tensor, requires) in tensors.items():
        assert torch.equal(tensor, after[key][0])
        assert requires == after[key][1]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(part._forward_pre_hooks for part in model.modules())
    assert torch.equal(images, same_images)
    assert torch.equal(labels, same_labels)
    assert not images.requires_grad


def test_dropout_and_stochastic_depth_do_not_change_a_score(operator):
    net = network(operator, repeats=2, head=None)
    noisy = replace(net, drop_path=0.5, head=replace(net.head, dropout=0.5))
    assert scores(noisy, SCORES, *batch(net), seed=0) == scores(net, SCORES, *batch(net), seed=0)


def test_the_seed_decides_and_other_names_do_not():
    net = network("mbconv")
    everything = scores(net, SCORES, *batch(net), seed=5)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    for name in reversed(SCORES):
        assert scores(net, [name], *batch(net), seed=5) == {name: everything[name]}
    assert torch.equal(torch.get_rng_state(), before)
    other = scores(net, SCORES, *batch(net), seed=6)
    assert all(other[name] != everything[name] for name in SCORES)


def test_the_scored_weights_are_those_a_training_with_the_seed_starts_from(monkeypatch):
    net = network("shufflenet_v2")
    torch.manual_seed(stream_seed(11, INITIAL, 0))
    trained = build(net).state_dict()
    seen = []
    monkeypatch.setitem(SCORES, "probe", lambda model, *_: seen.append(model.state_dict()) or 0.0)
    scores(net, ["probe"], *batch(net), seed=11)
    assert all(torch.equal(trained[name], tensor) for name, tensor in seen[0].items())


def test_an_unknown_name_names_the_known_ones():
    net = network("mbconv")
    with pytest.raises(InputError, match=r"one of .*" + ".*".join(SCORES) + r".*'fisher'"):
        scores(net, ["snip", "fisher"], *batch(net), seed=0)


def test_a_batch_that_does_not_fit_is_named():
    net = network("mbconv")
    images, labels = batch(net)
    with pytest.raises(ValueError, match=r"images \(n, 3, 8, 8\).*\(8, 3, 8, 7\)"):
        scores(net, ["snip"], images[..., :7], labels, seed=0)
    with pytest.raises(ValueError, match="labels"):
        scores(net, ["snip"], images, labels[:5], seed=0)
    with pytest.raises(ValueError, match="at least 8 images, but got 7"):
        scores(net, ["snip"], images[:7], labels[:7], seed=0)
