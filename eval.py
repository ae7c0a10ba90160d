"""Evaluates a trained network on the test split of its configuration.

    python eval.py --workdir=DIR [--config.eval.field=value]                    # the last step of a run
    python eval.py --workdir=DIR --checkpoint=DIR/checkpoints/STEP              # another step
    python eval.py --config=configs/NAME.py --workdir=DIR --checkpoint=PATH     # weights of others

Prints a table of decoders on the same network. Writes DIR/eval/DATASET-SPLIT-stepSTEP.json (for weights of others,
DIR/eval/DATASET-SPLIT-FILE.json), and beside it pictures: overlays, heatmaps of the worst images, and the cumulative
error if the metric is NME. Only an earlier result of the same weights and protocol is replaced; another has another
name, see docs/datasets.md.
"""

from h3r_jax.training import environment  # noqa: F401  (before jax)

# isort: split

import functools
import json
import os

from absl import flags
from etils import epath
from ml_collections import ConfigDict

from configs import common
from data import inputs
from h3r_jax import convert
from h3r_jax import run as runs
from h3r_jax.evaluation import report
from h3r_jax.evaluation.evaluator import Evaluator
from h3r_jax.evaluation.protocols import Protocol
from h3r_jax.inference import make_network, settings_of
from h3r_jax.training import command, distributed, same_run, sharding
from h3r_jax.training.recipe import check_config


def evaluate(
    config: ConfigDict, workdir: str | os.PathLike, *, checkpoint: str | os.PathLike | None = None
) -> dict[str, float]:
    """Evaluates a run, or weights of others, on `config.data.test_split`; prints and writes the results.

    Args:
      config: ConfigDict with the fields of configs/common.py.
      workdir: path of the run, and of the results.
      checkpoint: `WORKDIR/checkpoints/STEP`, or weights that `h3r_jax.convert` reads; None for the last step.

    Returns:
      The metrics of the network's own decoder: {"nme": ..., "nme/pose": ..., ...}.

    Raises:
      UserError, OSError: the configuration is not the run's, or the data or the weights are wrong.
    """
    # ---- What is asked for: the network of the configuration, which must be the run's, and the protocol.
    runs.check_workdir(workdir)
    check_config(json.loads(config.to_json()))
    config = inputs.with_landmarks(config)
    mesh, fields = sharding.make_mesh(), json.loads(config.to_json())
    source = workdir if checkpoint is None else checkpoint
    found = runs.find(source)
    if not found and checkpoint is None:
        raise FileNotFoundError(f"{workdir} holds no run; train first, or correct --workdir or --checkpoint")
    differing = same_run.check_evaluation(found[0], fields) if found else {}
    network = make_network(**settings_of(config))
    protocol = Protocol.from_config(config, network.scheme)
    options = {"batch_size": config.eval.batch_size, "decoders": report.decoders(network)}

    # ---- The weights, and the place for the results.
    whole = sharding.replicated(mesh)
    if found:
        run, step = found
        step = max(run.steps(), default=None) if step is None else step
        variables, weights = run.variables(network.shapes(), step=step, averaged=config.eval.averaged, sharding=whole)
        name = f"step{step}"
    else:
        variables, weights = convert.load_network(source, network, sharding=whole)
        name = epath.Path(source).resolve().name
    place = report.prepare(workdir) if distributed.is_first() else None

    # ---- The data.
    with distributed.first_process_first():  # it prepares the data
        split = inputs.test_input(config, network)
    evaluator = Evaluator(network, protocol, split, mesh, **options)

    # ---- The results, of every process; the first one writes them.
    evaluation = evaluator(variables)
    if place is not None:
        dataset, folder = inputs.test_set(config)
        of_data = {"dataset": epath.Path(folder).name or dataset, "folder": folder, "split": config.data.test_split}
        report.publish(place, evaluation, evaluator, variables, of_data, config.data.box, differing, weights, name)
    distributed.meet()  # or JAX would end the first process, which draws, a minute after the others have finished
    return evaluation.scores[""].metrics


if __name__ == "__main__":
    flags.DEFINE_string("checkpoint", None, "a step of a run, or weights of others; the last step by default")
    command.main(
        lambda flags: evaluate(flags.config, flags.workdir, checkpoint=flags.checkpoint),
        functools.partial(command.stored_config, base=common.get_config()),
    )
