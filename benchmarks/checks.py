"""What each check costs that a training makes before its first step, and after its last.

    python -m benchmarks.checks [--config=configs/NAME.py:VARIANT --data_dir=DIR]

Prints the median time of five calls of each check, for the data and the network of a recipe. The data is prepared
first, and a checkpoint of the network as it is drawn is saved.
"""

from h3r_jax.training import environment  # noqa: F401  (before jax)

# isort: split

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import jax

from data import inputs
from h3r_jax import digests
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.run import Run
from h3r_jax.training import checkpoints, command, same_run, sharding
from h3r_jax.training.recipe import Recipe, check_config
from h3r_jax.training.state import initial_state, optimizer_of

CALLS = 5


def milliseconds(call):
    """The median time of a call."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def claim(run):
    with same_run.owned(run):
        pass


def checks(config, place):
    """Name of each check, and a function that makes it."""
    recipe = Recipe.from_config(config)
    network, protocol = recipe.network, Protocol.from_config(config, recipe.network.scheme)
    examples, validation = inputs.train_input(config, recipe), inputs.validation_input(config, network)
    test, _ = inputs.check_test(config, network, protocol)
    mesh = sharding.make_mesh(jax.devices()[:1])
    state, _ = initial_state(config, network, optimizer_of(config.train, warmup_steps=1, total_steps=9), mesh)
    run = Run(place / "run")
    saved = checkpoints.Checkpoints(run, keep=1)
    saved.save(state)
    saved.wait()
    folder = run.checkpoints / "0"
    items = [path.name for path in folder.iterdir() if path.is_dir()]
    size = f"{digests.size(folder) / 2**20:.1f} MiB"
    return {
        "the configuration against its ranges": lambda: check_config(json.loads(config.to_json())),
        "the claim on the workdir": lambda: claim(Run(place / "other")),
        "prepared data, and the images that it is of": lambda: inputs.validation_input(config, network),
        "the test split, as eval.py will need it": lambda: inputs.check_test(config, network, protocol),
        "units, repetitions and overlaps of the splits": lambda: inputs.findings(examples, validation, test),
        "a trial in the folder of checkpoints": lambda: checkpoints.prepare(Run(place / "third")),
        f"digests of a checkpoint of {size}, when it is saved": lambda: digests.write(folder, *items),
        f"the same checkpoint, when it is read: {size}": lambda: run.verify(0),
        "the last checkpoint, read back and compared": lambda: saved.confirm(state),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quickstart.py", help="a recipe (default: %(default)s)")
    parser.add_argument("--data_dir", help="of the raw data; by default the recipe's")
    options = parser.parse_args()
    config = command.load_recipe(options.config)
    if options.data_dir:
        config.data_dir = options.data_dir
    with tempfile.TemporaryDirectory() as place:
        print("| check | milliseconds |\n|---|--:|")
        for name, check in checks(config, Path(place)).items():
            print(f"| {name} | {milliseconds(check):.1f} |", flush=True)


if __name__ == "__main__":
    main()
