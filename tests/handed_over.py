"""Models to hand over, and a process that has what was handed over but not this package."""

import os
import subprocess
import sys

import torch
from random_weights import filled

from scalesearch import build
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.handover.model import Model

HOSTILE = (
    "<script>alert(1)</script>",
    "[link](https://example.org) ![](x)",
    "a | b\n# c `d` *e* __f__",
    "https://example.org www.example.org",
)


def small(*stages, **options):
    """A network of a few thousand parameters with these stages."""
    given = {"resolution": 24, "classes": 4, "stem": Stem(8), "head": Head(16)} | options
    return Network(name="small", stages=stages, **given)


MIXED = small(
    Stage("fused_mbconv", 8, 1, options=(("expand", 1),)),
    Stage("fused_mbconv", 16, 2, 2, options=(("expand", 2),)),
    Stage("mbconv", 24, 2, 2, options=(("expand", 2), ("kernel", 5))),
    Stage("mbconv", 24, 1, options=(("expand", 1),)),
    drop_path=0.2,
    head=Head(16, dropout=0.2),
)
STAGES = {
    "mbconv": Stage("mbconv", 16, 2, 2),
    "fused_mbconv": Stage("fused_mbconv", 16, 2, 2),
    "mobilenet_v3": Stage("mobilenet_v3", 16, 2, 2),
    "depthwise_separable": Stage("depthwise_separable", 16, 2, 2),
    "shufflenet_v1": Stage("shufflenet_v1", 48, 2, 2, options=(("groups", 4),)),
    "shufflenet_v2": Stage("shufflenet_v2", 16, 2, 2),
}


def trained(network, classes=None, **facts):
    """A model with weights and statistics that no initialisation has."""
    return Model(network, filled(build, network), classes, (0.5, 0.4, 0.3), (0.2, 0.2, 0.3), facts)


def without_us(code, folder, *arguments):
    """Run code in a folder, in a process where scalesearch cannot be imported; return what it printed."""
    blocked = "import sys\nsys.modules['scalesearch'] = None\nsys.path.insert(0, '.')\n"
    command = [sys.executable, "-W", "error", "-c", blocked + code, *map(str, arguments)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums of several threads round otherwise
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | threads,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
