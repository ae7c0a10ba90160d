"""From a configuration to what feeds training and evaluation."""

from data.pipeline import EvalInput, TrainInput
from data.prepare import prepare
from data.source import Source


def _crop(config, shape):
    return {
        "shape": shape,
        "box": config.data.box,
        "box_scale": config.data.box_scale,
        "cache_bytes": config.data.cache_bytes,
    }


def _source(config, scheme, split, name, folder):
    builder = prepare(
        name,
        data_dir=config.data_dir,
        prepared_dir=config.prepared_dir,
        folder=folder,
        num_landmarks=scheme.num_landmarks,
    )
    source = Source(builder, split)
    return source, source.annotations()


def train_input(config, scheme, recipe):
    """The training stream of `config.data.train_split`; errors as `data.prepare.prepare` and `Annotations.boxes`."""
    source, annotations = _source(config, scheme, config.data.train_split, config.data.name, config.data.folder)
    return TrainInput(
        source,
        annotations,
        augmentation=recipe.augmentation,
        upper_body=scheme.upper_body,
        **_crop(config, recipe.shape),
    )


def test_set(config):
    """The name and the folder of the data set that `config.data.test_split` is of."""
    if config.data.test_name:
        return config.data.test_name, config.data.test_folder
    return config.data.name, config.data.folder


def validation_input(config, scheme, recipe):
    """The held-out split, for evaluation; None if there is none; errors as `train_input`."""
    split = config.data.validation_split
    return _eval_input(config, scheme, recipe, split, config.data.name, config.data.folder) if split else None


def test_input(config, scheme, recipe):
    """The test split, for evaluation; errors as `train_input`."""
    return _eval_input(config, scheme, recipe, config.data.test_split, *test_set(config))


def _eval_input(config, scheme, recipe, split, name, folder):
    source, annotations = _source(config, scheme, split, name, folder)
    return EvalInput(source, annotations, crop=config.eval.crop, **_crop(config, recipe.shape))
