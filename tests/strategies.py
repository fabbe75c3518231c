"""Random valid networks, for every operator."""

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
    "shufflenet_v2": {"kernel": KERNELS, "act": ACTS},
}


@st.composite
def stages(draw, operators=tuple(OPERATORS)):
    operator = draw(st.sampled_from(sorted(operators)))
    options = tuple((name, draw(values)) for name, values in OPTIONS[operator].items())
    multiple = Stage(operator, 1 << 20, 1, options=options).multiple
    return Stage(
        operator=operator,
        channels=multiple * draw(st.integers(1, 4)),
        repeats=draw(st.integers(1, 3)),
        stride=draw(st.sampled_from([1, 2])),
        options=options,
    )


@st.composite
def networks(draw, operators=tuple(OPERATORS), largest=40):
    return Network(
        name="random",
        resolution=draw(st.integers(9, largest)),
        stem=Stem(
            channels=8 * draw(st.integers(1, 3)),
            kernel=draw(st.sampled_from([3, 5])),
            stride=draw(st.sampled_from([1, 2])),
            pool=draw(st.booleans()),
        ),
        stages=tuple(draw(st.lists(stages(operators), min_size=1, max_size=4))),
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
