"""Random small search spaces with every construct of the language, for tests that need many spaces."""

from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.space import SearchSpace
from scalesearch.documents import space_from

ACTS = ["relu", "silu", "hardswish"]
# What the options of operators may be; each entry is a leaf of a document.
OPTIONS = {
    "kernel": [3, {"choice": [3, 5]}, {"choice": [1, 3, 7]}, {"range": [3, 7], "step": 2}],
    "expand": [2, {"choice": [1, 6]}, {"range": [1.0, 6.0], "log": True}, {"range": [1.0, 4.0], "step": 0.5}],
    "se": [0, {"choice": [0, 0.25]}, {"range": [0.0, 0.5], "step": 0.125}],
    "groups": [2, {"choice": [1, 2, 3, 8]}, {"range": [1, 4]}],
    "first_grouped": [True, {"choice": [True, False]}],
    "act": ["relu", {"choice": ACTS}, {"same": "stem.act"}],
}
WIDTHS = [
    24,
    {"choice": [8, 12, 40]},
    {"range": [16, 64], "step": 8},
    {"range": [16, 40]},
    {"range": [8, 64], "log": True},
]
REPEATS = [1, 2, {"range": [0, 3]}, {"choice": [0, 2]}, {"range": [1, 4]}]
TIED = ("kernel", "expand", "se", "groups", "act", "channels", "repeats", "stride", "operator")


def random_document(rng):
    """Return a random space document as plain data; `rng` is a NumPy generator."""

    def one(values):
        return values[int(rng.integers(len(values)))]

    video = rng.random() < 0.15
    operators = sorted(OPERATORS) if not video else ["fused_mbconv", "mbconv", "shufflenet_v2"]
    document = {
        "name": "random",
        "resolution": one([32, {"choice": [32, 48]}, {"range": [32, 64], "step": 16}]),
        "drop_path": one([0.1, {"range": [0.0, 0.3], "step": 0.1}, {"choice": [0.0, 0.2]}]),
        "stem": {
            "channels": one(WIDTHS),
            "kernel": one([3, {"choice": [3, 5]}]),
            "stride": one([1, 2, {"choice": [1, 2]}]),
            "act": one(["silu", {"choice": ACTS}]),
            "pool": one([False, {"choice": [False, True]}]),
        },
        "stages": [],
        "head": {
            "channels": one([None, 64, {"choice": [None, 32, 64]}, {"range": [32, 64], "step": 8}]),
            "act": one(["relu", {"choice": ACTS}, {"same": "stem.act"}]),
            "dropout": one([0.2, {"range": [0.0, 0.5]}]),
        },
        "coefficients": {"growth": one([2, {"range": [1.5, 2.5]}]), "depth": {"range": [0.0, 1.0]}},
    }
    if video:
        document |= {"dims": 3, "resolution": [8, {"choice": [32, 48]}, {"same": "resolution.1"}]}
        document["stem"]["stride"] = one([[1, 2, 2], {"choice": [[1, 2, 2], [2, 2, 2]]}])
    rows = document["stages"]
    for _ in range(int(rng.integers(1, 7))):
        rows.append(_row(rng, one, rows, operators))
    rows[0]["repeats"] = one([1, {"range": [1, 3]}])
    return document


def _row(rng, one, rows, operators):
    offered = [str(name) for name in rng.permutation(operators)[: int(rng.integers(1, 4))]]
    row = {
        "operator": offered[0] if len(offered) == 1 else {"choice": offered},
        "channels": one(WIDTHS),
        "repeats": one(REPEATS),
        "stride": one([1, 1, 2, {"choice": [1, 2]}]),
    }
    taken = {option for name in offered for option in OPERATORS[name].options}
    row |= {name: one(OPTIONS[name]) for name in OPTIONS if name in taken and rng.random() < 0.7}
    for name in row:
        others = [index for index, other in enumerate(rows) if name in other]
        if name == "operator":  # a tied operator must take the options of this row too
            others = [index for index in others if rows[index]["operator"] == row["operator"]]
        if name in TIED and others and rng.random() < 0.15:
            row[name] = {"same": f"stages.{one(others)}.{name}"}
    return row


def random_space(rng) -> SearchSpace:
    """Return a random space: choices, ranges (whole, float, log, step), ties, and stages that may be absent.

    All six operators occur, in images and (one space in seven) in videos; `rng` is a NumPy generator, and
    the same generator gives the same spaces. The spaces are small: up to 6 rows of some 10 leaves.
    """
    return space_from(random_document(rng), "random")
