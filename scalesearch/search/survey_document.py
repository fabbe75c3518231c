"""What a survey document says: which networks are drawn, and how long each is trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Trainings of one length: the first `networks` networks, with each seed.

    Attributes:
        images: training images of each, repeats counted.
    """

    images: int
    networks: int
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.images < 1 or self.networks < 1:
            raise ValueError(
                f"images and networks must be at least 1, but got {self.images} and {self.networks}"
            )
        if not self.seeds or min(self.seeds) < 0:
            raise ValueError(f"seeds are whole numbers of at least 0, but got {list(self.seeds)}")


@dataclass(frozen=True)
class Survey:
    """A survey document.

    Attributes:
        space, recipe: documents by name or path.
        budget_flops: multiply-accumulates of the deployed networks. networks: how many are drawn.
        seed: of the drawing. trainings: carried out in this order.
    """

    name: str
    budget_flops: float
    networks: int
    trainings: tuple[Block, ...]
    space: str = "mixed"
    recipe: str = "proxy"
    seed: int = 0
    description: str = ""

    def __post_init__(self) -> None:
        if self.budget_flops <= 0:
            raise ValueError(f"budget_flops must be positive, but got {self.budget_flops}")
        if not self.trainings:
            raise ValueError("a survey has at least one block of trainings, but got none")
        if self.networks < 1:
            raise ValueError(f"networks must be at least 1, but got {self.networks}")
        most = max(block.networks for block in self.trainings)
        if most > self.networks:
            raise ValueError(f"{self.networks} networks are drawn, but trainings ask for the first {most}")
