"""The command lines of train.py and eval.py: their flags, their errors, their processes."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from h3r_jax import run as runs
from h3r_jax.errors import UserError, sentences
from h3r_jax.training import distributed, preemption


def main(run: Callable[[Any], object], stored_config: Callable[[Any], ConfigDict | None] = lambda flags: None) -> None:
    """Parses the flags, joins the other processes, and calls `run` with the flags.

    Flags of a script's own must be defined before. The flags here are `--config`, `--workdir` and those of
    `distributed.initialize`. A `UserError` or `OSError` is printed as one sentence, and SIGTERM ends with status 143.

    Args:
      run: function of the parsed flags.
      stored_config: function of the parsed flags, for a command line without `--config`: the configuration to start
        from, None if the command needs one.
    """
    flags.DEFINE_string("workdir", None, "directory of the run", required=True)
    flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0; found under SLURM, GKE and Cloud TPU")
    flags.DEFINE_integer("num_processes", None, "processes of the run; 1 to run alone whatever the surroundings")
    flags.DEFINE_integer("process_id", None, "of this process, from 0")

    def start(_: list[str]) -> None:
        with session(flags.FLAGS):
            run(flags.FLAGS)

    app.run(start, flags_parser=lambda arguments: _parse(arguments, stored_config))


def _parse(arguments: list[str], stored_config: Callable[[Any], ConfigDict | None]) -> list[str]:
    """Parses twice: at first all flags but those of the configuration, which may stand in the run's workdir."""
    with sentences():
        named = any(argument.lstrip("-").partition("=")[0] == "config" for argument in arguments[1:])
        asks_for_help = any(argument.lstrip("-").startswith("help") for argument in arguments[1:])
        config = None
        if not named and not asks_for_help:
            flags.FLAGS(arguments, known_only=True)
            config = stored_config(flags.FLAGS)
            flags.FLAGS.unparse_flags()
        if config is None:
            config_flags.DEFINE_config_file("config", None, "the recipe, such as configs/quickstart.py")
            flags.mark_flag_as_required("config")
        else:
            config_flags.DEFINE_config_dict("config", config)
        try:
            return flags.FLAGS(arguments)
        except (AttributeError, KeyError, TypeError, ValueError, flags.Error) as error:
            raise UserError(str(error).strip().strip("\"'")) from error


def stored_config(options: Any, base: ConfigDict) -> ConfigDict | None:
    """The configuration of the run that `--checkpoint` or else `--workdir` names, with the types of `base`; None without one."""
    found = runs.find(options.checkpoint or options.workdir)
    return fill(base, found[0].config(), found[0].config_file) if found else None


@contextlib.contextmanager
def session(options: Any) -> Iterator[None]:
    """One process of a command: joined to the others, with its errors in sentences."""
    if not options["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
        # Orbax warns of every save without an evaluation. There are many such saves.
        logging.get_absl_logger().addFilter(lambda record: "tracked_metric" not in record.getMessage())
    try:
        with distributed.end_for_all(), sentences():
            distributed.initialize(*(options[name].value for name in distributed.FLAGS))
            yield
    except preemption.Preempted as stop:
        if distributed.is_first():
            print(f"{stop}; the same command goes on from there.")
        sys.exit(preemption.EXIT_CODE)


def fill(base: ConfigDict, fields: Mapping[str, Any], path: str | os.PathLike) -> ConfigDict:
    """A configuration with the fields and types of `base` and the values of another.

    Args:
      base: the configuration of all defaults.
      fields: nested dicts, as JSON has them.
      path: of their file, for messages.

    Raises:
      UserError: a field that `base` lacks, or a value of another type.
    """
    for field, value in runs.flatten(fields).items():
        *sections, name = field.split(".")
        place = base
        try:
            for section in sections:
                place = place[section]
            place[name] = tuple(value) if isinstance(place[name], tuple) and isinstance(value, list) else value
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: config.{field}={value!r} is not known to this version ({error})") from error
    return base
