"""The recipe of a short training: every knob, as plain data; `studies/recipes/` holds the documents."""

from __future__ import annotations

from dataclasses import dataclass, field

from scalesearch.architecture.proxy import ProxyPolicy


@dataclass(frozen=True)
class Phase:
    """A part of the training that runs at one input resolution.

    Attributes:
        share: of the training's images, in (0, 1]; the shares of all phases add up to 1.
        scale: input side over the network's own side, in (0, 1].
    """

    share: float
    scale: float

    def __post_init__(self) -> None:
        for name, value in (("share", self.share), ("scale", self.scale)):
            if not 0 < value <= 1:
                raise ValueError(f"a phase's {name} must be in (0, 1], but got {value}")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained for a given number of images; the learning rates end at zero with them.

    Attributes:
        batch_size: images a step; the last step takes what is left.
        muon_learning_rate: step length of the orthogonalised updates (a spectral norm, see `Muon`) at the
            top of the schedule; used for the weights of all convolutions but the stem's.
        muon_momentum: share of the momentum that a step keeps, in [0, 1).
        muon_iterations: Newton-Schulz iterations an update.
        sgd_learning_rate: at the top of the schedule; Nesterov SGD trains all other parameters.
        sgd_momentum: as above.
        weight_decay: L2 coefficient of SGD's weights with two or more axes (stem, classifier).
        warmup_share: of the images, over which the learning rates rise linearly from zero, in [0, 1).
        label_smoothing: probability spread evenly over all classes (Szegedy et al. 2016, section 7).
        clip_norm: SGD's gradients are scaled down to this global L2 norm where they exceed it. A guard
            against single wild steps. Muon's updates have a fixed length and need none.
        crop_padding: pixels of reflection padding on each side, at the data's own resolution, for random
            crops from the second time on that an image is seen: before, there is nothing to vary.
        flip: mirror an image left to right with probability 1/2, likewise.
        crop_area: smallest and largest share of an image's area that a random resized crop keeps, in (0, 1],
            likewise; (1, 1) crops nothing. For data that are larger than the network's input.
        crop_aspect: least and largest width over height of such a crop, relative to the image's own.
        cutout: side of the rectangle that is covered with the mean colour, as a share of the input's side,
            in [0, 1), likewise; 0 covers nothing.
        phases: the resolution schedule, in order.
        ema_decay: share of the moving average of the weights that a step keeps, in [0, 1); where it is above
            0, the average is evaluated and stored in place of the last weights.
        norm_batches: training batches that the running statistics of batch norm are measured on anew
            after the last step, at the network's own resolution; 0 keeps the moving averages.
        proxy: how a candidate's proxy is made.
        seed_deviation: standard deviation of the accuracy (a fraction) between trainings that differ in
            their seed alone, as measured on `seed_trainings` of them.
    """

    batch_size: int = 64
    muon_learning_rate: float = 0.05
    muon_momentum: float = 0.8
    muon_iterations: int = 4
    sgd_learning_rate: float = 0.03
    sgd_momentum: float = 0.8
    weight_decay: float = 5e-4
    warmup_share: float = 0.2
    label_smoothing: float = 0.1
    clip_norm: float = 5.0
    crop_padding: int = 2
    flip: bool = True
    phases: tuple[Phase, ...] = (Phase(0.5, 0.8), Phase(0.5, 1.0))
    crop_area: tuple[float, float] = (1.0, 1.0)
    crop_aspect: tuple[float, float] = (1.0, 1.0)
    cutout: float = 0.0
    ema_decay: float = 0.0
    norm_batches: int = 4
    proxy: ProxyPolicy = field(default_factory=ProxyPolicy)
    seed_deviation: float = 0.006
    seed_trainings: int = 7

    def __post_init__(self) -> None:
        for name in ("batch_size", "muon_iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but got {getattr(self, name)}")
        for name in (
            "muon_momentum",
            "sgd_momentum",
            "warmup_share",
            "label_smoothing",
            "cutout",
            "ema_decay",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), but got {getattr(self, name)}")
        for name in ("muon_learning_rate", "sgd_learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, but got {getattr(self, name)}")
        for name in ("weight_decay", "crop_padding", "norm_batches"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, but got {getattr(self, name)}")
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(f"crop_area must be a range in (0, 1], but got {self.crop_area}")
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1]:
            raise ValueError(f"crop_aspect must be a range above 0, but got {self.crop_aspect}")
        if self.seed_deviation <= 0 or self.seed_trainings < 2:
            raise ValueError(
                f"seed_deviation must be above 0 and seed_trainings at least 2, "
                f"but got {self.seed_deviation} and {self.seed_trainings}"
            )
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of all phases must add up to 1, but add up to {total:g}")

    @property
    def crops(self) -> bool:
        """Whether random resized crops are taken."""
        return (self.crop_area, self.crop_aspect) != ((1.0, 1.0), (1.0, 1.0))

    def rate(self, progress: float) -> float:
        """Return the learning rates' factor at a share `progress` of the images: a triangle with top 1."""
        if progress < self.warmup_share:
            return progress / self.warmup_share
        return (1 - progress) / (1 - self.warmup_share)

    def scale(self, progress: float) -> float:
        """Return the scale of the phase that a share `progress` of the images falls into."""
        end = 0.0
        for phase in self.phases:
            end += phase.share
            if progress < end:
                return phase.scale
        return self.phases[-1].scale
