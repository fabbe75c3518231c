"""Images unlike each other, in class folders and Parquet files."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from scalesearch.training.data.split import content_hashes

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def noise(seed, size=(32, 32), mode="RGB"):
    """An image unlike any other."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write_classes(root, counts, size=(32, 32), start=0):
    """Class folders with `counts` different PNG images each."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise(start + 1000 * label + number, size).save(root / name / f"{number:03}.png")
    return root


def png(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def write_parquet(file, contents, labels, names=("cat", "dog"), column="label"):
    file.parent.mkdir(parents=True, exist_ok=True)
    feature = {"_type": "ClassLabel", "names": list(names)}
    metadata = {
        "huggingface": json.dumps({"info": {"features": {"img": {"_type": "Image"}, column: feature}}})
    }
    images = [{"bytes": content, "path": f"{row}.png"} for row, content in enumerate(contents)]
    table = pa.table({"img": pa.array(images, IMAGE), column: pa.array(labels, pa.int64())})
    pq.write_table(table.replace_schema_metadata(metadata), file)


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def splits_of(data):
    return [split for split in (data.train, data.select, data.report, data.test) if split is not None]


def contents(split):
    return set(content_hashes(split.images))
