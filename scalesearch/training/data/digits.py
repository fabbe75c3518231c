"""Scikit-learn's handwritten digits: small real images that need no network, for demonstration."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from scalesearch.training.data.pool import Pool, Progress

# The recipe's resolutions (20 px growing to 32) and the strides of the spaces are made for 32-px data;
# at the original 8 px a network would be down to one pixel after three strides. The demonstration then
# takes exactly the path of the real data.
SIDE = 32  # px
BRIGHTEST = 16  # the data's largest grey value


class Digits:
    """1,797 images of 8 × 8 px in 10 classes, undivided."""

    where = "digits"
    demonstration = True

    def identity(self) -> list[object]:
        """See Source.identity."""
        return ["digits", version("scikit-learn")]

    def read(self, scratch: Path, progress: Progress) -> Pool:
        """See Source.read."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        grey = np.rint(digits.images * (255 / BRIGHTEST)).astype(np.uint8)
        images = np.stack([_enlarged(image) for image in grey])
        rgb = np.repeat(images[:, None], 3, axis=1)
        classes = tuple(str(name) for name in digits.target_names)
        parts = np.full(len(rgb), "train")
        return Pool("digits (scikit-learn)", classes, rgb, digits.target.astype(np.int64), parts)


def _enlarged(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
