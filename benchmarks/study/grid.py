"""The grid: which networks are trained, and for which question. Plain data."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

BASES: dict[str, dict[str, Any]] = {
    "phantom": {  # configs/quickstart.py
        "input_size": 96,
        "epochs": 6.0,
        "learning_rate": 1.6e-2,
        "average_decay": 0.99,
        "rotation": 10.0,
        "scale": 0.1,
        "shift": 0.03,
        "color": 0.2,
        "blur": 0.0,
        "occlusion": 0.0,
    },
    "ytfaces68": {  # configs/ytfaces68.py:mobilenet_v2_128, with a third of its epochs
        "input_size": 128,
        "epochs": 5.0,
        "batch_size": 8,
        "learning_rate": 8e-3,
        "average_decay": 0.995,
        "rotation": 10.0,
        "scale": 0.1,
        "shift": 0.03,
        "color": 0.1,
        "blur": 0.0,
        "occlusion": 0.0,
    },
}
SCHEMES = {"phantom": "phantom23", "ytfaces68": "ibug68"}
COUNTS = {"phantom": 1600, "ytfaces68": 2379}  # training examples
OBJECTIVE = ("target", "threshold", "sigma", "weight", "margin", "eps")
NUMBERS = {"dsnt": ("weight",), "integral_cross_entropy": ("weight",), "structured_hinge": ("margin", "eps")}
AUGMENTATION = ("rotation", "scale", "shift", "mirror", "color", "blur", "occlusion")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training. The fields are those of a configuration, by their last names; `make` fills them.

    loss, and the fields of `OBJECTIVE`: of losses.Objective.
    input_size: pixels; of a square.
    held_out: whether part of the training people are kept out of the training, and evaluated in place of the test
      split (`examples.held_out`).
    """

    dataset: str
    input_size: int
    epochs: float
    learning_rate: float
    average_decay: float
    rotation: float
    scale: float
    shift: float
    color: float
    blur: float
    occlusion: float
    mirror: float = 0.5
    loss: str = "spatial_cross_entropy"
    target: str = "expected"
    threshold: float = 0.5
    sigma: float = 0.0
    weight: float = 1.0
    margin: float = 1.0
    eps: float = 1.0
    stride: int = 4
    model: str = "mobilenet_v2"
    batch_size: int = 16
    optimizer: str = "muon"
    warmup_epochs: float = 1.0
    weight_decay: float = 1e-4
    clip_norm: float = 10.0
    held_out: bool = False
    seed: int = 0

    @property
    def objective(self) -> str:
        """The objective in words, without fields that say nothing."""
        words = [self.loss.replace("_", " ")]
        if self.loss != "integral":
            words.append(self.target + (f" {self.threshold:g}" if self.target == "threshold" else ""))
        if self.sigma:
            words.append(f"sigma {self.sigma:g}")
        words += [f"{field} {getattr(self, field):g}" for field in NUMBERS.get(self.loss, ())]
        return " ".join(words)

    @property
    def name(self) -> str:
        """Data set, objective, and each other field that is not the base's; unique in the grid."""
        base = make(self.dataset)
        others = [
            f"{field.name} {getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if field.name not in ("dataset", "loss", *OBJECTIVE)
            and getattr(self, field.name) != getattr(base, field.name)
        ]
        return ", ".join([f"{self.dataset}: {self.objective}", *others])

    def steps(self, examples: int = 0) -> int:
        """Steps of the training; of the whole training split without a number of examples."""
        return max(1, round(self.epochs * (examples or COUNTS[self.dataset]) / self.batch_size))


def make(dataset: str, **changes: Any) -> Cell:
    """The base of a data set, with changes."""
    return Cell(dataset, **{**BASES[dataset], **changes})


class Group(NamedTuple):
    """Cells for one question. A cell may be in several groups; it is trained once."""

    question: str
    cells: tuple[Cell, ...]


EXPECTED: dict[str, Any] = {"loss": "spatial_cross_entropy"}
VANILLA: dict[str, Any] = {"loss": "squared_error", "target": "threshold", "sigma": 2.0}
CONTENDERS: tuple[dict[str, Any], ...] = (
    EXPECTED,
    {"loss": "spatial_cross_entropy", "target": "sampled"},
    {"loss": "binary_cross_entropy"},
    {"loss": "squared_error", "target": "coordinate", "sigma": 1.5},
    VANILLA,
    {"loss": "squared_error", "target": "sampled", "sigma": 1.5},  # the paper's combination
    {"loss": "adaptive_wing", "target": "coordinate", "sigma": 1.5},
    {"loss": "integral_cross_entropy", "weight": 1.0},
    {"loss": "dsnt", "target": "coordinate", "sigma": 1.0},
)


def _objectives() -> list[dict[str, Any]]:
    def each(loss: str, targets: tuple[str, ...], sigmas: tuple[float, ...]) -> list[dict[str, Any]]:
        return [{"loss": loss, "target": target, "sigma": sigma} for target in targets for sigma in sigmas]

    return [
        *each("spatial_cross_entropy", ("expected", "sampled", "threshold"), (0.0,)),
        *each("squared_error", ("threshold", "coordinate", "sampled"), (1.0, 1.5, 2.0, 3.0)),
        *each("binary_cross_entropy", ("expected", "sampled"), (0.0,)),
        {"loss": "integral"},
        {"loss": "dsnt", "target": "coordinate", "sigma": 1.0},
        *({"loss": "integral_cross_entropy", "weight": weight} for weight in (0.1, 1.0)),
        *each("adaptive_wing", ("coordinate",), (1.0, 1.5, 2.0)),
        *each("spatial_cross_entropy", ("coordinate",), (1.0, 1.5, 2.0)),
        *each("binary_cross_entropy", ("coordinate",), (1.0, 1.5, 2.0)),
        *(
            {"loss": "structured_hinge", "margin": margin, "eps": eps}
            for margin, eps in ((0.1, 1.0), (1.0, 1.0), (1.0, 0.1))
        ),
    ]


def _recipes() -> tuple[Cell, ...]:
    strong = {"rotation": 20.0, "scale": 0.2, "shift": 0.05, "color": 0.2, "blur": 0.8, "occlusion": 0.2}
    middle = {"rotation": 15.0, "scale": 0.15, "shift": 0.04, "color": 0.2}
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"optimizer": "adamw", "batch_size": 16, **strong},
        {"optimizer": "adamw", "batch_size": 16},
        {"optimizer": "adamw", "learning_rate": 6e-3},
        {"batch_size": 16},
        {"batch_size": 16, "learning_rate": 1.6e-2},
        {"learning_rate": 1.6e-2},
        middle,
        {"target": "coordinate", "sigma": 1.0},
        {"loss": "integral_cross_entropy", "weight": 1.0},
        {"epochs": 15.0, **middle},
        {"model": "hrnet_w18_small", "average_decay": 0.998},
    )
    return tuple(make("ytfaces68", held_out=True, **each) for each in changes)


def _resolution(sizes: tuple[int, ...]) -> tuple[Cell, ...]:
    cells = []
    for size in sizes:
        for stride in (2, 4, 8, 16):
            # A map of fewer than 12 cells has no room for a wide Gaussian.
            vanilla = VANILLA if size // stride >= 12 else {**VANILLA, "sigma": 1.0}
            cells += [
                make("phantom", input_size=size, stride=stride, **EXPECTED),
                make("phantom", input_size=size, stride=stride, **vanilla),
            ]
    return tuple(cells)


GROUPS: dict[str, Group] = {
    "objectives": Group(
        "Which objective and which width give the smallest error, each with its own decoder?",
        tuple(make("phantom", **objective) for objective in _objectives()),
    ),
    "contenders": Group(
        "Does the order of the objectives hold over three seeds?",
        tuple(make("phantom", **objective, seed=seed) for seed in (0, 1, 2) for objective in CONTENDERS),
    ),
    "threshold": Group(
        "Is the bias of threshold rounding in trained networks the predicted one?",
        tuple(make("phantom", target="threshold", threshold=threshold) for threshold in (0.0, 0.5, 1.0)),
    ),
    "long": Group(
        "How exact does a well-trained network become at each stride?",
        tuple(make("phantom", stride=stride, epochs=30.0) for stride in (8, 16, 4)),
    ),
    "faces": Group(
        "Does the order of the objectives hold on real faces?",
        tuple(
            make("ytfaces68", **objective, seed=seed)
            for seed in (0, 1, 2)
            for objective in (*CONTENDERS[:5], {"loss": "integral_cross_entropy", "weight": 1.0})
        ),
    ),
    "resolution": Group("How far can input and heatmap shrink before the error rises?", _resolution((96, 64, 128))),
    "recipes": Group(
        "Which recipe is best on people that were held out of the training set?",
        _recipes(),
    ),
    "resolution_256": Group("The same with an input of 256 pixels.", _resolution((256,))),
}
CPU = ("objectives", "contenders", "threshold", "long", "faces", "resolution")  # six hours of two cores
GPU = tuple(GROUPS)


def cells(groups: tuple[str, ...] = GPU) -> dict[str, Cell]:
    """`{name: cell}` of groups in their order, each cell once."""
    return {cell.name: cell for group in groups for cell in GROUPS[group].cells}


def group_of(cell: Cell) -> str:
    """The first group that declares a cell."""
    return next(name for name, group in GROUPS.items() if cell in group.cells)


def array_files() -> dict[str, tuple[str, int]]:
    """`{name: (data set, input size)}` of the array files that the grid needs."""
    return {f"{cell.dataset}-{cell.input_size}": (cell.dataset, cell.input_size) for cell in cells().values()}


def largest_augmentation(dataset: str) -> dict[str, float]:
    """The largest value of each field of `AUGMENTATION` in a data set's cells: what a canvas must hold."""
    chosen = [cell for cell in cells().values() if cell.dataset == dataset]
    return {field: max(getattr(cell, field) for cell in chosen) for field in AUGMENTATION}
