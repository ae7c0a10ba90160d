"""Writes the examples of the study, so that it needs neither TensorFlow nor a data set.

    python -m benchmarks.study.arrays --out=DIR [--data_dir=DIR --only phantom-96 ytfaces68-128 --compress]

Each file holds one data set at one input size: the canvases of the training split, and the crops of the test split.
See `examples` for the arrays. A canvas is large enough for every augmentation of the grid. The faces come from
`python -m data.fetch_ytfaces68`. Who is seen in a frame is the beginning of the name of its file, as in
person012_03.jpg. A compressed file is loaded more slowly.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import examples, grid
from configs import common, quickstart, ytfaces68
from data import inputs
from data.pipeline import EvalInput
from h3r_jax import geometry
from h3r_jax.errors import UserError, sentences
from h3r_jax.evaluation.protocols import Protocol, units
from h3r_jax.files import write_whole
from h3r_jax.inference import Network
from h3r_jax.training.recipe import Recipe

CONFIGS = {"phantom": quickstart.get_config, "ytfaces68": ytfaces68.get_config}
BATCH = 64


def crops(split: EvalInput, network: Network) -> dict[str, np.ndarray]:
    """The arrays of `examples.Crops`."""
    annotations = split.annotations
    unit = units(Protocol(network.scheme), annotations, "") * split.matrices[:, 0, 0]
    images = np.concatenate([batch["image"] for batch in split.batches(BATCH)])[: split.num_examples]
    landmarks = geometry.transform_points(split.matrices, annotations.landmarks)
    return {"images": images, "landmarks": landmarks, "weight": annotations.weight, "unit": unit}


def people(names: tuple[str, ...]) -> np.ndarray:
    """Who is seen in each frame, `str[N]`, from the names of records, which end in "(personNNN_MM.jpg)".

    Raises:
      UserError: a name has another form.
    """
    found = [re.search(r"(person\d+)_\d+\.jpg\)$", name) for name in names]
    for name, match in zip(names, found):
        if not match:
            raise UserError(f"{name}: the image's name does not tell who is seen; want personNNN_MM.jpg")
    return np.array([match.group(1) for match in found if match])


def collect(dataset: str, input_size: int, data_dir: str) -> dict[str, np.ndarray]:
    """All arrays of a file."""
    config: Any = CONFIGS[dataset]()
    config.data_dir = data_dir
    config.model.input_size = (input_size, input_size)
    config.augment.update(grid.largest_augmentation(dataset))
    recipe = Recipe.from_config(config)
    network, train = recipe.network, inputs.train_input(config, recipe)
    everything = np.arange(train.num_examples)[:, None]
    arrays = {
        "canvases": np.concatenate(list(train.canvases.batches(everything))),
        "matrices": train.fields["matrix"],
        "edges": train.fields["edges"],
        "landmarks": train.fields["landmarks"],
        "weight": train.annotations.weight,
    }
    splits = {"test": inputs.test_input(config, network)}
    if dataset == "ytfaces68":
        arrays["person"] = people(train.annotations.name)
        config.data.test_split = config.data.train_split
        splits["train"] = inputs.test_input(config, network)
    for prefix, split in splits.items():
        arrays |= {f"{prefix}_{name}": array for name, array in crops(split, network).items()}
    assert set(arrays) == examples.names(dataset)
    return arrays


def main() -> None:
    files = grid.array_files()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="folder for the files")
    parser.add_argument("--data_dir", default=common.get_config().data_dir, help="directory of raw data sets")
    parser.add_argument("--only", nargs="+", choices=files, default=[*files], help="files to write; all by default")
    parser.add_argument("--compress", action="store_true", help="smaller files")
    options = parser.parse_args()
    save: Any = np.savez_compressed if options.compress else np.savez
    with sentences():
        for name in options.only:
            arrays = collect(*files[name], options.data_dir)
            path = options.out.expanduser() / f"{name}.npz"
            write_whole(path, lambda place: save(place, **arrays), overwrite=True, suffix=".npz")  # noqa: B023
            train, test = arrays["canvases"], arrays["test_images"]
            print(
                f"{path}: {path.stat().st_size / 2**20:.0f} MiB; canvases {train.shape}, crops {test.shape}", flush=True
            )


if __name__ == "__main__":
    main()
