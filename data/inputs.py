"""Makes the inputs of training and evaluation from a configuration."""

from collections.abc import Sequence
from typing import Any

from etils import epath

from data import audit
from data.builder import LandmarkBuilder
from data.description import DESCRIBERS
from data.pipeline import EvalInput, TrainInput
from data.prepare import prepare
from data.source import Annotations, Source
from h3r_jax.errors import UserError
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import Network
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.training.recipe import Recipe


def with_landmarks(config: Any) -> Any:
    """The configuration, with what a data set of one's own says about its landmarks; fields that are set stay.

    It is given back as it is if it names a landmark scheme, or if its data set is a published one.

    Raises:
      UserError, FileNotFoundError: as `data.description`; or nobody says the mirror order.
    """
    if config.landmarks.scheme or config.data.name not in DESCRIBERS:
        return config
    folder = epath.Path(config.data_dir).expanduser() / (config.data.folder or config.data.name)
    said = DESCRIBERS[config.data.name](folder)
    config = config.copy_and_resolve_references()
    for field, value in {
        "mirror": said.mirror,
        "normalizer": said.unit,
        "connections": tuple(index for pair in said.connections for index in pair),
        "sigmas": said.sigmas,
    }.items():
        config.landmarks[field] = tuple(config.landmarks[field]) or value
    if not config.landmarks.mirror:
        count = said.num_landmarks
        raise UserError(
            f"{folder} has {count} landmarks, and nothing says how they change places in a mirrored image; give one "
            f"number for each: --config.landmarks.mirror='{(1, 0, *range(2, count))}' if the first two change places, "
            f"'{tuple(range(count))}' if none does"
        )
    return config


def _builder(config: Any, scheme: LandmarkScheme, name: str, folder: str) -> LandmarkBuilder:
    place = {"data_dir": config.data_dir, "prepared_dir": config.prepared_dir, "folder": folder}
    return prepare(name, num_landmarks=scheme.num_landmarks, **place)


def _annotations(source: Source) -> Annotations:
    annotations = source.annotations()
    audit.check(annotations)
    return annotations


def train_input(config: Any, recipe: Recipe) -> TrainInput:
    """The training stream of `config.data.train_split`.

    Errors as `data.prepare.prepare`, `data.audit.check` and `Annotations.boxes`.
    """
    network, data = recipe.network, config.data
    source = Source(_builder(config, network.scheme, data.name, data.folder), data.train_split)
    return TrainInput(
        source,
        _annotations(source),
        augmentation=recipe.augmentation,
        upper_body=network.scheme.upper_body,
        shape=network.shape,
        box=data.box,
        box_scale=network.box_scale,
        cache_bytes=data.cache_bytes,
    )


def test_set(config: Any) -> tuple[str, str]:
    """The name and the folder of the data set that has `config.data.test_split`.

    Raises:
      UserError: there is a folder without a name, which would be passed over.
    """
    if config.data.test_name:
        return config.data.test_name, config.data.test_folder
    if config.data.test_folder:
        raise UserError(
            f"config.data.test_folder is {config.data.test_folder!r}, but config.data.test_name is empty; want both, "
            "or neither if the test split is of the data set of training"
        )
    return config.data.name, config.data.folder


def validation_input(config: Any, network: Network) -> EvalInput | None:
    """The validation split; None if there is none; errors as `train_input`."""
    data = config.data
    if not data.validation_split:
        return None
    return _eval_input(config, network, _builder(config, network.scheme, data.name, data.folder), data.validation_split)


def test_input(config: Any, network: Network) -> EvalInput:
    """The test split; errors as `train_input`, and a subset of `config.eval.subsets` that none of its records has."""
    return _test_input(config, network, _builder(config, network.scheme, *test_set(config)))


def check_test(config: Any, network: Network, protocol: Protocol) -> tuple[EvalInput | None, str]:
    """Looks, before a training, whether eval.py will be able to score its test split.

    Returns:
      The split; or None and a sentence for the account if the data is not there yet, so that nobody can tell.

    Raises:
      UserError: eval.py could not: there is no such split or subset, or a record lacks what the protocol needs.
    """
    try:
        builder = _builder(config, network.scheme, *test_set(config))
    except FileNotFoundError as error:
        return None, f"the test split cannot be checked before eval.py scores it: {error}"
    split = config.data.test_split.partition("[")[0]
    if split in builder.OFFICIAL_COUNTS and split not in builder.info.splits:
        lacks = f"{builder.info.full_name} lacks {split!r}"
        return None, f"the test split cannot be checked before eval.py scores it: {lacks}"
    test = _test_input(config, network, builder)
    protocol.check(test)
    return test, ""


def warnings(
    config: Any, network: Network, protocol: Protocol, examples: TrainInput, validation: EvalInput | None
) -> list[str]:
    """Sentences for the account of a training, of `check_test` (with its errors) and `findings`; some may be empty."""
    test, unchecked = check_test(config, network, protocol)
    mirror = network.scheme.mirror if config.augment.mirror else ()
    return [unchecked, *findings(examples, validation, test, mirror)]


def findings(
    examples: TrainInput, validation: EvalInput | None, test: EvalInput | None, mirror: Sequence[int] = ()
) -> list[str]:
    """Sentences of `data.audit.findings` about the splits of a training; validation that is also tested counts once."""
    parts = {"train": audit.Part(examples.annotations)}
    if validation:
        parts["validation"] = audit.Part(validation.annotations, validation.divided_images)
    if test and not (validation and validation.name == test.name):
        parts["test"] = audit.Part(test.annotations, test.divided_images)
    return audit.findings(parts, mirror)


def _test_input(config: Any, network: Network, builder: LandmarkBuilder) -> EvalInput:
    split = _eval_input(config, network, builder, config.data.test_split)
    there = sorted(set().union(*split.annotations.subsets))
    official = builder.OFFICIAL_SUBSETS.get(config.data.test_split, {})  # this copy may lack some of their records
    for subset in config.eval.subsets:
        if subset not in {*there, *official}:
            known = f"its subsets are {', '.join(there)}" if there else "it has no subsets: set ()"
            raise UserError(f"config.eval.subsets has {subset!r}, and no record of {split.name} is in it; {known}")
    return split


def _eval_input(config: Any, network: Network, builder: LandmarkBuilder, split: str) -> EvalInput:
    source = Source(builder, split)
    return EvalInput(
        source,
        _annotations(source),
        crop=network.crop,
        shape=network.shape,
        box=config.data.box,
        box_scale=network.box_scale,
        cache_bytes=config.data.cache_bytes,
    )
