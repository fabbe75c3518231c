"""The recipe of a full training: every knob, as plain data; `studies/recipes/` holds the documents."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

Range = tuple[float, float]

_INTERVALS = {
    "momentum": "[0, 1)",
    "final_rate": "[0, 1]",
    "label_smoothing": "[0, 1)",
    "ema_decay": "[0, 1)",
    "random_erasing": "[0, 1]",
    "dropout": "[0, 1)",
    "drop_path": "[0, 1)",
    "head_rate": "(0, inf)",
    "stage_decay": "(0, 1]",
}
_FROM_ZERO = ("weight_decay", "warmup_epochs", "clip_norm", "crop_padding", "mixup", "cutmix")
MAGNITUDES = 30  # of torchvision's RandAugment: 0 changes nothing, 30 is the strongest


def _check_finite(name: str, value: Any) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{name} must be a finite number, but got {number}")


def _within(name: str, value: float, rule: str) -> None:
    """Raise ValueError where `value` is outside the interval that `rule` writes as "[0, 1)"."""
    low, high = (float(bound) for bound in rule[1:-1].split(","))
    above = value >= low if rule[0] == "[" else value > low
    below = value <= high if rule[-1] == "]" else value < high
    if not (above and below):
        raise ValueError(f"{name} must be in {rule}, but got {value}")


@dataclass(frozen=True)
class Stage:
    """A part of the training with one input side and one strength of regularisation.

    Progressive learning (Tan and Le 2021, section 4 and algorithm 1): both grow from stage to stage.

    Attributes:
        share: of the epochs, in (0, 1]; the shares of all stages add up to 1.
        scale: input side over the network's own side, in (0, 1].
        strength: of regularisation, in [0, 1]: what the recipe's values are multiplied with.
    """

    share: float
    scale: float
    strength: float = 1.0

    def __post_init__(self) -> None:
        for name, rule in (("share", "(0, 1]"), ("scale", "(0, 1]"), ("strength", "[0, 1]")):
            _within(f"a stage's {name}", getattr(self, name), rule)


class Setting(NamedTuple):
    """What holds in one epoch: the stage's scale, and the recipe's regularisation times its strength.

    Attributes:
        scale: input side over the network's own side, in (0, 1].
        randaugment_magnitude: 0 to 30, rounded; 0 is off.
        mixup, cutmix: parameters of the beta distributions; 0 is off.
        random_erasing: probability.
        dropout: rate; None is the network's own, which no strength changes.
    """

    scale: float
    randaugment_magnitude: int
    mixup: float
    cutmix: float
    random_erasing: float
    dropout: float | None


@dataclass(frozen=True)
class FullRecipe:
    """How a network is trained in full.

    Attributes:
        epochs: passes over the training images; what is left of a batch at the end of one is dropped.
        batch_size: images an optimizer step, over all processes and accumulated parts.
        accumulate: parts that a step's batch is taken in, one after the other, their gradients added.
        optimizer: "sgd" (Nesterov), "adamw" (Loshchilov and Hutter 2019), or "muon": Muon for all
            convolutions but the stem's and Nesterov SGD for the rest, at the same rate.
        learning_rate: at the top of the schedule, for this batch size: nothing scales it.
        momentum: share that a step of SGD or Muon keeps, in [0, 1).
        betas: the same for AdamW's two averages.
        weight_decay: on weights with two or more axes; never on norms and biases.
        warmup_epochs: over which the rate rises linearly from 0; need not be whole.
        final_rate: share of the top rate that the cosine ends at (Loshchilov and Hutter 2017, equation 5).
        label_smoothing: probability spread evenly over all classes (Szegedy et al. 2016, section 7).
        clip_norm: gradients are scaled down to this global L2 norm where they exceed it; 0 is off.
        ema_decay: share of the weights' moving average that a step keeps, in [0, 1); 0 is off.
        flip: mirror an image left to right with probability 1/2.
        crop_padding: pixels of reflection at each side, at the data's own resolution, for random crops of
            that size: for small images.
        crop_area: least and largest share of an image's area that a random resized crop keeps, in (0, 1]
            (Szegedy et al. 2015, section 6); (1, 1) crops nothing. For photos.
        crop_aspect: least and largest width over height of such a crop.
        randaugment_ops: operations an image (Cubuk et al. 2020).
        randaugment_magnitude: on torchvision's scale of 0 (off) to 30.
        mixup: the beta distribution's parameter (Zhang et al. 2018); 0 is off. With cutmix, each batch
            gets one of the two, with probability 1/2.
        cutmix: the same (Yun et al. 2019).
        random_erasing: probability that a rectangle of an image is covered with the mean colour (Zhong
            et al. 2020), with the paper's areas (0.02 to 1/3) and aspects (0.3 to 3.3).
        dropout: rate before the classifier; None is the network's own.
        drop_path: rate of the last block, growing linearly from 0 at the first; None is the network's own.
        amp: "off" (float32), "bf16" or "fp16" (with a gradient scaler) autocast.
        channels_last: order of the axes in memory; changes speed and rounding only.
        stages: of progressive learning, in order; one of share, scale and strength 1 is none.
        head_rate: factor of the classifier's learning rate.
        stage_decay: factor a stage from the head down to the stem, in (0, 1]: the head's own convolution
            has 1, the last stage this, the one before its square (Howard and Ruder 2018, section 3.1).
        norm_eval: keep batch norm as it is: running statistics are used and not updated, scale and shift
            are not trained. For small batches of few images, from trained weights.
    """

    epochs: int = 200
    batch_size: int = 128
    accumulate: int = 1
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    betas: Range = (0.9, 0.999)
    weight_decay: float = 5e-4
    warmup_epochs: float = 5.0
    final_rate: float = 0.0
    label_smoothing: float = 0.1
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    flip: bool = True
    crop_padding: int = 0
    crop_area: Range = (1.0, 1.0)
    crop_aspect: Range = (1.0, 1.0)
    randaugment_ops: int = 2
    randaugment_magnitude: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    random_erasing: float = 0.0
    dropout: float | None = None
    drop_path: float | None = None
    amp: Literal["off", "bf16", "fp16"] = "off"
    channels_last: bool = True
    stages: tuple[Stage, ...] = (Stage(1.0, 1.0),)
    head_rate: float = 1.0
    stage_decay: float = 1.0
    norm_eval: bool = False

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_schedule()
        self._check_crops()

    def _check_numbers(self) -> None:
        for field in fields(self):
            _check_finite(field.name, getattr(self, field.name))
        for name in ("epochs", "batch_size", "accumulate", "randaugment_ops"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, but got {self.learning_rate}")
        for name in _FROM_ZERO:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, but got {getattr(self, name)}")
        for name, rule in _INTERVALS.items():
            if getattr(self, name) is not None:
                _within(name, getattr(self, name), rule)
        for beta in self.betas:
            _within("each of betas", beta, "[0, 1)")
        if not 0 <= self.randaugment_magnitude <= MAGNITUDES:
            raise ValueError(
                f"randaugment_magnitude must be in [0, {MAGNITUDES}], but got {self.randaugment_magnitude}"
            )

    def _check_schedule(self) -> None:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate must divide batch_size {self.batch_size}, but got {self.accumulate}"
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be below the {self.epochs} epochs, but got {self.warmup_epochs}"
            )
        total = sum(stage.share for stage in self.stages)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of all stages must add up to 1, but add up to {total:g}")

    def _check_crops(self) -> None:
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(f"crop_area must be a range in (0, 1], but got {self.crop_area}")
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1]:
            raise ValueError(f"crop_aspect must be a range above 0, but got {self.crop_aspect}")
        if self.crops and self.crop_padding:
            raise ValueError(
                f"crop_padding and crop_area exclude each other, "
                f"but got {self.crop_padding} and {self.crop_area}"
            )

    @property
    def crops(self) -> bool:
        """Whether random resized crops are taken."""
        return (self.crop_area, self.crop_aspect) != ((1.0, 1.0), (1.0, 1.0))

    def over(self, epochs: int) -> FullRecipe:
        """Return the recipe over another number of epochs; the warm-up keeps its share of them."""
        return replace(self, epochs=epochs, warmup_epochs=self.warmup_epochs * epochs / self.epochs)

    def rate(self, progress: float) -> float:
        """Return the learning rates' factor at a share `progress` of the steps, in [0, 1]; its top is 1."""
        warmup = self.warmup_epochs / self.epochs
        if progress < warmup:
            return progress / warmup
        cosine = (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
        return self.final_rate + (1 - self.final_rate) * cosine

    def stage(self, epoch: int) -> Stage:
        """Return the stage of an epoch, counted from 0: the one that the middle of the epoch falls into."""
        end, middle = 0.0, (epoch + 0.5) / self.epochs
        for stage in self.stages:
            end += stage.share
            if middle < end - 1e-9:
                return stage
        return self.stages[-1]

    def setting(self, epoch: int) -> Setting:
        """Return what holds in an epoch, counted from 0: each value is the recipe's times the strength.

        The paper interpolates linearly from a least to a largest value (algorithm 1); with evenly rising
        strengths this is the same, its least value being the first strength times the largest one.
        """
        stage = self.stage(epoch)
        return Setting(
            scale=stage.scale,
            randaugment_magnitude=round(stage.strength * self.randaugment_magnitude),
            mixup=stage.strength * self.mixup,
            cutmix=stage.strength * self.cutmix,
            random_erasing=stage.strength * self.random_erasing,
            dropout=None if self.dropout is None else stage.strength * self.dropout,
        )
