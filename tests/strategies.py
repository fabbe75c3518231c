"""Random valid networks, for every operator, in two and three dimensions."""

from math import gcd

from hypothesis import strategies as st

from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.scaling import Coefficients

KERNELS = st.sampled_from([1, 3, 5, 7])
EXPANDS = st.sampled_from([1, 2, 3.5, 6])
SQUEEZES = st.sampled_from([0, 0.1, 0.25])
ACTS = st.sampled_from(["relu", "silu", "hardswish"])

# One line an operator: the options that its blocks may have.
OPTIONS = {
    "mbconv": {"kernel": KERNELS, "expand": EXPANDS, "se": SQUEEZES, "act": ACTS},
    "fused_mbconv": {"kernel": KERNELS, "expand": EXPANDS, "se": SQUEEZES, "act": ACTS},
    "mobilenet_v3": {"kernel": KERNELS, "expand": EXPANDS, "se": SQUEEZES, "act": ACTS},
    "depthwise_separable": {"kernel": KERNELS, "act": ACTS},
    "shufflenet_v1": {
        "kernel": KERNELS,
        "groups": st.sampled_from([1, 2, 3, 4, 8]),
        "first_grouped": st.booleans(),
        "act": ACTS,
    },
    "shufflenet_v2": {"kernel": KERNELS, "act": ACTS},
}


@st.composite
def stages(draw, operators=tuple(OPERATORS), in_channels=24):
    operator = draw(st.sampled_from(sorted(operators)))
    options = {name: draw(values) for name, values in OPTIONS[operator].items()}
    least = 0
    if operator == "shufflenet_v1":  # its groups divide what comes in, and what comes in is fewer
        options["groups"] = gcd(options["groups"], in_channels)
        least = in_channels
    multiple = Stage(operator, 1 << 20, 1, options=tuple(options.items())).multiple
    return Stage(
        operator=operator,
        channels=multiple * (least // multiple + draw(st.integers(1, 4))),
        repeats=draw(st.integers(1, 3)),
        stride=draw(st.sampled_from([1, 2])),
        options=tuple(options.items()),
    )


@st.composite
def stage_lists(draw, operators, in_channels, most):
    drawn = []
    for _ in range(draw(st.integers(1, most))):
        drawn.append(draw(stages(operators, drawn[-1].channels if drawn else in_channels)))
    return tuple(drawn)


@st.composite
def stems(draw, dims):
    strides = [1, 2] if dims == 2 else [1, 2, (1, 2, 2)]
    return Stem(
        channels=8 * draw(st.integers(1, 3)),
        kernel=draw(st.sampled_from([3, 5])),
        stride=draw(st.sampled_from(strides)),
        pool=draw(st.booleans()),
    )


@st.composite
def videos(draw, stem, drawn, largest):
    """Frames and sides; ShuffleNetV1 pools two frames, and AvgPool3d needs maps of its window's size."""
    if not any(stage.operator == "shufflenet_v1" for stage in drawn):
        return draw(st.tuples(st.integers(1, 9), st.integers(9, largest), st.integers(9, largest)))
    halvings = (stem.stride != 1) + stem.pool + sum(stage.stride == 2 for stage in drawn)
    side = st.integers(3 << halvings, (3 << halvings) + 5)
    return (draw(st.sampled_from([4, 8])) << halvings, draw(side), draw(side))


@st.composite
def networks(draw, operators=tuple(OPERATORS), largest=40, dims=2):
    stem = draw(stems(dims))
    drawn = draw(stage_lists(operators, stem.channels, most=4 if dims == 2 else 2))
    resolution = draw(st.integers(9, largest))
    if dims == 3:
        resolution = draw(videos(stem, drawn, largest))
    return Network(
        name="random",
        resolution=resolution,
        dims=dims,
        stem=stem,
        stages=drawn,
        head=Head(
            channels=draw(st.sampled_from([None, 16, 40])),
            hidden=draw(st.sampled_from([None, 24])),
            dropout=draw(st.sampled_from([0.0, 0.3])),
        ),
        classes=draw(st.integers(2, 12)),
        drop_path=draw(st.sampled_from([0.0, 0.2])),
    )


@st.composite
def coefficients(draw):
    depth = draw(st.floats(0, 1))
    return Coefficients.from_shares(depth, (1 - depth) * draw(st.floats(0, 1)), draw(st.floats(1.3, 3)))
