"""Muon and the division of a network's parameters between the two optimizers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.training.build import build
from scalesearch.training.optimizer import _SGD, Muon, Optimizers, muon_groups, orthogonalise
from scalesearch.training.recipe import Recipe

MIXED = Network(
    name="mixed",
    resolution=16,
    stem=Stem(8),
    stages=(
        Stage("fused_mbconv", 8, 2, 1, (("expand", 2),)),
        Stage("mbconv", 16, 1, 2, (("expand", 2), ("kernel", 5))),
        Stage("shufflenet_v2", 16, 2, 2),
    ),
    head=Head(24),
    classes=10,
)


def matrices(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 150), st.integers(1, 150), st.integers(0, 9))
def test_an_update_keeps_the_singular_vectors_and_lifts_the_singular_values_to_near_one(
    k, rows, columns, seed
):
    small = min(rows, columns)
    # A square Gaussian matrix has singular values arbitrarily near 0; these are well away from it.
    u = torch.linalg.qr(matrices(k, rows, small, seed=seed)).Q
    v = torch.linalg.qr(matrices(k, columns, small, seed=seed + 1)).Q
    values = torch.linspace(0.2, 1.0, small)
    update = orthogonalise(u * values @ v.mT, 6)
    assert update.dtype == torch.float32
    lifted = torch.linalg.svdvals(update)
    assert lifted.min() > 0.6
    assert lifted.max() < 1.3
    in_basis = u.mT @ update @ v
    off_diagonal = in_basis - torch.diag_embed(in_basis.diagonal(dim1=-2, dim2=-1))
    assert off_diagonal.abs().max() < 0.03


def updated(weights, gradients, groups=1, steps=3, **options):
    parameters = [nn.Parameter(w.clone()) for w in weights]
    optimizer = Muon(dict.fromkeys(parameters, groups), lr=0.1, **options)
    for step in range(steps):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient * (step + 1)
        optimizer.step()
    return parameters


def test_weights_of_one_shape_are_updated_together_as_they_would_be_alone():
    weights, gradients = matrices(4, 24, 8, 3, 3), matrices(4, 24, 8, 3, 3, seed=1)
    together = updated(weights, gradients)
    for index in range(4):
        (alone,) = updated(weights[index : index + 1], gradients[index : index + 1])
        torch.testing.assert_close(together[index], alone)


@pytest.mark.parametrize("shape", [(48, 24), (24, 48), (30, 30)])
def test_an_update_equals_torch_s_own_muon(shape):
    weight, gradient = matrices(*shape), matrices(*shape, seed=1)
    (ours,) = updated([weight], [gradient], momentum=0.9, iterations=5)
    theirs = nn.Parameter(weight.clone())
    # torch's momentum is an average, (1 - m) times ours: the orthogonalised update is the same.
    rival = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, momentum=0.9, ns_steps=5)
    for step in range(3):
        theirs.grad = gradient * (step + 1)
        rival.step()
    change, expected = ours - weight, theirs - weight
    # The rival multiplies in bfloat16.
    assert torch.linalg.matrix_norm(change - expected) < 0.05 * torch.linalg.matrix_norm(expected)


@pytest.mark.parametrize("groups", [2, 4, 16])
def test_a_grouped_convolution_s_blocks_are_updated_each_as_a_dense_one(groups):
    weight, gradient = matrices(16, 16 // groups, 3, 3), matrices(16, 16 // groups, 3, 3, seed=1)
    (together,) = updated([weight], [gradient], groups)
    blocks = updated(weight.chunk(groups), gradient.chunk(groups))
    torch.testing.assert_close(together, torch.cat(blocks))


def test_a_depthwise_kernel_moves_by_the_learning_rate():
    weight, gradient = matrices(8, 1, 5, 5), matrices(8, 1, 5, 5, seed=1)
    (moved,) = updated([weight], [gradient], groups=8, steps=1)
    torch.testing.assert_close((moved - weight).flatten(1).norm(dim=1), torch.full((8,), 0.1))


def test_muon_takes_every_convolution_but_the_stem():
    model = build(MIXED)
    names = {id(p): name for name, p in model.named_parameters()}
    taken = {names[id(weight)]: groups for weight, groups in muon_groups(model).items()}
    convolutions = {
        f"{name}.weight": m.groups for name, m in model.named_modules() if isinstance(m, nn.Conv2d)
    }
    assert taken == {name: groups for name, groups in convolutions.items() if name != "stem.conv.weight"}
    assert taken["s2.b0.depthwise.conv.weight"] == 16


def test_every_parameter_is_trained_by_exactly_one_optimizer():
    model = build(MIXED)
    optimizers = Optimizers(model, Recipe())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step(0.3)
    held = [p for o, _ in optimizers._all for group in o.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []


def test_the_sgd_without_torchs_compiler_is_torchs_bit_for_bit():
    ours, theirs = build(MIXED), build(MIXED)
    theirs.load_state_dict(ours.state_dict())
    found = []
    for model, kind in ((ours, _SGD), (theirs, SGD)):
        optimizer = kind(model.parameters(), 0.1, 0.9, nesterov=True, weight_decay=5e-4, fused=True)
        for step in range(3):
            for at, parameter in enumerate(model.parameters()):
                parameter.grad = matrices(*parameter.shape, seed=100 * step + at)
            optimizer.step()
            state = optimizer.state_dict()
            optimizer.load_state_dict(state)
            optimizer.zero_grad()
        assert all(parameter.grad is None for parameter in model.parameters())
        found.append((list(model.parameters()), state))
    (mine, my_state), (others, other_state) = found
    assert all(map(torch.equal, mine, others))
    assert my_state["param_groups"] == other_state["param_groups"]
    for at, values in other_state["state"].items():
        assert torch.equal(my_state["state"][at]["momentum_buffer"], values["momentum_buffer"])


def test_the_guard_bounds_a_wild_gradient_of_sgd():
    model = nn.Sequential(nn.Linear(4, 4))
    optimizers = Optimizers(
        model, Recipe(sgd_momentum=0.5, sgd_learning_rate=1.0, clip_norm=2.0, weight_decay=0)
    )
    before = [p.detach().clone() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    optimizers.step(Recipe().warmup_share)  # at the top of the schedule
    change = torch.cat([(p - b).flatten() for p, b in zip(model.parameters(), before, strict=True)])
    assert change.norm().item() == pytest.approx(2.0 * 1.5, rel=1e-4)  # Nesterov: gradient + 0.5 of it


def test_a_network_without_dense_convolutions_is_trained_by_sgd_alone():
    assert len(Optimizers(nn.Sequential(nn.Linear(3, 2)), Recipe())._all) == 1
