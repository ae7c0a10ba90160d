"""From a configuration to what feeds training and evaluation."""

from data.pipeline import EvalInput, TrainInput
from data.prepare import prepare
from data.source import Source


def _crop(config, shape):
    return {"shape": shape, "box": config.data.box, "box_scale": config.data.box_scale, "cache_bytes": config.data.cache_bytes}


def _source(config, scheme, split):
    builder = prepare(
        config.data.name,
        data_dir=config.data_dir,
        prepared_dir=config.prepared_dir,
        folder=config.data.folder,
        num_landmarks=scheme.num_landmarks,
    )
    source = Source(builder, split)
    return source, source.annotations()


def train_input(config, scheme, recipe):
    """The training stream of `config.data.train_split`; errors as `data.prepare.prepare` and `Annotations.boxes`."""
    source, annotations = _source(config, scheme, config.data.train_split)
    return TrainInput(
        source,
        annotations,
        augmentation=recipe.augmentation,
        on_error=config.data.on_error,
        **_crop(config, recipe.shape),
    )


def eval_input(config, scheme, recipe, split):
    """One split for evaluation; errors as `train_input`, and for a record whose normalising distance is zero."""
    source, annotations = _source(config, scheme, split)
    annotations.normalizing_distances(scheme)
    return EvalInput(source, annotations, crop=config.eval.crop, **_crop(config, recipe.shape))
