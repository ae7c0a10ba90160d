"""Makes the inputs of training and evaluation from a configuration."""

from typing import Any

from data.pipeline import EvalInput, TrainInput
from data.prepare import prepare
from data.source import Annotations, Source
from h3r_jax.inference import Network
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.training.recipe import Recipe


def _source(config: Any, scheme: LandmarkScheme, split: str, name: str, folder: str) -> tuple[Source, Annotations]:
    place = {"data_dir": config.data_dir, "prepared_dir": config.prepared_dir, "folder": folder}
    source = Source(prepare(name, num_landmarks=scheme.num_landmarks, **place), split)
    return source, source.annotations()


def train_input(config: Any, recipe: Recipe) -> TrainInput:
    """The training stream of `config.data.train_split`; errors as `data.prepare.prepare` and `Annotations.boxes`."""
    network, data = recipe.network, config.data
    source, annotations = _source(config, network.scheme, data.train_split, data.name, data.folder)
    return TrainInput(
        source,
        annotations,
        augmentation=recipe.augmentation,
        upper_body=network.scheme.upper_body,
        shape=network.shape,
        box=data.box,
        box_scale=network.box_scale,
        cache_bytes=data.cache_bytes,
    )


def test_set(config: Any) -> tuple[str, str]:
    """The name and the folder of the data set that has `config.data.test_split`."""
    if config.data.test_name:
        return config.data.test_name, config.data.test_folder
    return config.data.name, config.data.folder


def validation_input(config: Any, network: Network) -> EvalInput | None:
    """The validation split; None if there is none; errors as `train_input`."""
    split = config.data.validation_split
    return _eval_input(config, network, split, config.data.name, config.data.folder) if split else None


def test_input(config: Any, network: Network) -> EvalInput:
    """The test split; errors as `train_input`."""
    return _eval_input(config, network, config.data.test_split, *test_set(config))


def _eval_input(config: Any, network: Network, split: str, name: str, folder: str) -> EvalInput:
    source, annotations = _source(config, network.scheme, split, name, folder)
    return EvalInput(
        source,
        annotations,
        crop=network.crop,
        shape=network.shape,
        box=config.data.box,
        box_scale=network.box_scale,
        cache_bytes=config.data.cache_bytes,
    )
