"""The networks that ship with the package: docs/models.md tells how they were trained and what they can do."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Model:
    """One network that ships.

    name: as `load_predictor` takes it.
    network: backbone and input.
    scheme: of its landmarks, a name of `landmarks.SCHEMES`.
    data: that it was trained on.
    license: of the weights.
    nme: normalised mean error by the distance of the outer eye corners, percent, on the validation split of the data.
    """

    name: str
    network: str
    scheme: str
    data: str
    license: str
    nme: float

    @property
    def path(self) -> Path:
        """The file of the weights."""
        return Path(__file__).parent / f"{self.name}.safetensors"

    def __str__(self) -> str:
        size = self.path.stat().st_size / 2**20
        return (
            f"{self.name}: {self.network}, scheme {self.scheme}, {size:.1f} MiB, trained on {self.data}, "
            f"NME {self.nme:.3f}, licence {self.license}"
        )


FACES = "faces68"  # the default
MODELS = (
    Model(
        name=FACES,
        network="MobileNetV2, 128x128",
        scheme="ibug68",
        data="ytfaces68 (frames of YouTube Faces)",
        license="Apache-2.0",
        nme=4.314,
    ),
)


def list_models() -> dict[str, Model]:
    """The networks that ship, by name."""
    return {model.name: model for model in MODELS}
