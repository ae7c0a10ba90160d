"""What the recipe files share: the choice of a variant, settings of published data sets, the list of all recipes."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs import common
from h3r_jax.errors import UserError

# Most official training sets have no part for validation, and the test split must not choose a checkpoint. So the last
# two per cent of the training split, in the order of its builder, are held out. They serve to choose a checkpoint and
# are no score: in WFLW the objects of one image may fall into both parts; 300W's two per cent are all of LFPW; AFLW's
# are part of a random permutation; in 300W-LP, which TFDS shuffles, they show people who are trained on as well.
# To train on everything: --config.data.train_split=train --config.data.validation_split=
HELD_OUT = {"train_split": "train[:98%]", "validation_split": "train[98%:]"}


def choose(rows: Mapping[str, Any], variant: str) -> Any:
    """The row of a variant; UserError with the names of all variants if it has none."""
    if variant not in rows:
        raise UserError(f"unknown variant {variant!r}; known are {', '.join(rows)}")
    return rows[variant]


def published(name: str, scheme: str, rows: Mapping[str, tuple], variant: str, **data: Any) -> ConfigDict:
    """A recipe for a published data set, with two per cent of the training split held out.

    Args:
      name: of the data set, key of data.prepare.DATASETS.
      scheme: of its landmarks, key of h3r_jax.landmarks.SCHEMES.
      rows: variant -> (model, input size as height and width, box, batch size, epochs, learning rate).
      variant: key of `rows`.
      data: fields of `config.data` in place of the usual ones.

    Raises:
      UserError: the variant is unknown; names the known ones.
    """
    model, input_size, box, batch_size, epochs, learning_rate = choose(rows, variant)
    config = common.get_config()
    config.data.update({"name": name, "box": box, "test_split": "test", **HELD_OUT, **data})
    config.landmarks.scheme = scheme
    config.model.update({"name": model, "input_size": input_size, "dtype": "bfloat16"})
    # The rates were published for Adam.
    config.train.update({"batch_size": batch_size, "epochs": epochs, "learning_rate": learning_rate})
    config.train.optimizer = "adamw"
    config.eval.flip = "coordinates"
    return config


def published_body(*arguments: Any, **data: Any) -> ConfigDict:
    """`published` for human pose: HRNet's own head, larger turns, at times half of a body, few landmarks."""
    config = published(*arguments, **data)
    config.model.head = "pose"
    config.augment.update({"rotation": 40.0, "scale": 0.3, "half_body": 0.3, "occlusion": 0.0, "blur": 0.0})
    config.eval.flip = "heatmaps"
    return config


def all_recipes() -> dict[str, ConfigDict]:
    """Every variant of every recipe file: `wflw:hrnet_w18_256_p1` is `--config=configs/wflw.py:hrnet_w18_256_p1`.

    A file without variants goes by its own name, `quickstart`.
    """
    recipes: dict[str, ConfigDict] = {}
    for file in sorted(path.stem for path in Path(__file__).parent.glob("*.py")):
        if file in ("common", "variants", "own"):  # the last has no landmarks of its own
            continue
        module = importlib.import_module(f"configs.{file}")
        if hasattr(module, "VARIANTS"):
            recipes |= {f"{file}:{variant}": module.get_config(variant) for variant in module.VARIANTS}
        else:
            recipes[file] = module.get_config()
    return recipes
