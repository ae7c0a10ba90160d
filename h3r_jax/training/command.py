"""The command lines of train.py and eval.py: their flags, their errors, their processes."""

import contextlib
import inspect
import os
import re
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from h3r_jax import ranges
from h3r_jax import run as runs
from h3r_jax.errors import UserError, is_full_disk, of_the_user, sentences
from h3r_jax.training import distributed, preemption


def main(run: Callable[[Any], object], stored: Callable[[Any], ConfigDict | None] = lambda flags: None) -> None:
    """Parses the flags, joins the other processes, and calls `run` with the flags.

    A script defines its own flags before this call. The flags here are `--config`, `--workdir` and those of
    `distributed.initialize`. A `UserError` or `OSError` is printed as one sentence. SIGTERM ends with status 143,
    Ctrl-C with 130.

    Args:
      run: function of the parsed flags.
      stored: function of the parsed flags that gives the configuration for a command line without `--config`; None if
        there is none.
    """
    flags.DEFINE_string("workdir", None, "directory of the run", required=True)
    flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0; found under SLURM, GKE and Cloud TPU")
    flags.DEFINE_integer("num_processes", None, "processes of the run; 1 to run alone whatever the surroundings")
    flags.DEFINE_integer("process_id", None, "of this process, from 0")
    for name in ("workdir", *distributed.FLAGS):  # or --help would leave them out
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

    def start(_: list[str]) -> None:
        with session(flags.FLAGS):
            run(flags.FLAGS)

    app.run(start, flags_parser=lambda arguments: _parse(arguments, stored))


def _parse(arguments: list[str], stored: Callable[[Any], ConfigDict | None]) -> list[str]:
    """Parses the flags; those of the configuration last, since its fields are known only when it is found."""
    with sentences():
        arguments, recipe = _without_recipe(arguments)
        asks_for_help = any(argument.lstrip("-").startswith("help") for argument in arguments[1:])
        with of_the_user():
            for argument in arguments[1:]:
                if field := re.match(r"--?(?:no)?config\.([^=]*)", argument):
                    ranges.check_name(field[1])
        try:
            if recipe:
                config = load_recipe(recipe)
            elif asks_for_help:
                config = ConfigDict()
            else:
                flags.FLAGS(arguments, known_only=True)
                config = stored(flags.FLAGS)
                flags.FLAGS.unparse_flags()
            if config is None:
                raise UserError("--config is missing, and the workdir holds no run; want --config=configs/NAME.py")
            help_text = "configs/NAME.py[:VARIANT], and its fields as --config.field=value"
            config_flags.DEFINE_config_dict("config", config, help_text, sys_argv=arguments)
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS["config"])
            rest = flags.FLAGS(arguments)
            if len(rest) > 1:
                raise UserError(f"{rest[1]!r} is no flag; want --flag=value, without spaces or in quotes")
            return rest
        except (AttributeError, KeyError, TypeError, flags.Error) as error:
            reason = str(error.args[0] if error.args else error)
            if said := re.match(r"flag --config\.([^=]*)=(.*?): ", reason, re.DOTALL):
                reason = f"config.{said[1]} is {said[2]!r}; want {ranges.RANGES[said[1]]}"
            raise UserError(reason.replace("\n", "; ")) from error


def _without_recipe(arguments: list[str]) -> tuple[list[str], str]:
    """The arguments without `--config=PATH` or `--config PATH`, and the path; empty without one."""
    for place, argument in enumerate(arguments[1:], 1):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config"):
            end = place + (1 if equals else 2)
            return arguments[:place] + arguments[end:], value if equals else "".join(arguments[place + 1 : end])
    return arguments, ""


def load_recipe(recipe: str) -> ConfigDict:
    """The configuration of `configs/NAME.py` or `configs/NAME.py:VARIANT`.

    Raises:
      UserError: there is no such file or variant, or the file is no recipe.
    """
    file, _, variant = recipe.partition(":")
    if not os.path.isfile(file):
        raise UserError(f"--config: there is no file {file!r}; want a recipe, such as configs/quickstart.py")
    if not file.endswith(".py"):
        raise UserError(f"--config: {file!r} does not end in .py; want a recipe, such as configs/quickstart.py")
    with open(file, "rb") as content:
        if b"\0" in content.read():  # of which some versions of Python make a SyntaxError, others a ValueError
            raise UserError(f"--config: {file} is no Python: source code string cannot contain null bytes")
    try:
        get_config = runpy.run_path(file).get("get_config")
    except SyntaxError as error:
        raise UserError(f"--config: {error.filename or file} line {error.lineno} is no Python: {error.msg}") from error
    if not callable(get_config):
        raise UserError(f"--config: {file} has no function get_config; configs/common.py shows a recipe")
    parameters = inspect.signature(get_config).parameters.values()
    if variant and not parameters:
        raise UserError(f"--config: {file} has no variants; want --config={file}")
    if not variant and any(parameter.default is parameter.empty for parameter in parameters):
        raise UserError(f"--config: {file} has variants; want --config={file}:VARIANT")
    config = get_config(variant) if variant else get_config()
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config: get_config of {file} returns a {type(config).__name__}; want a ConfigDict")
    return config


def stored_config(options: Any, base: ConfigDict) -> ConfigDict | None:
    """The configuration of the run that `--checkpoint` or else `--workdir` names, typed as `base`; None without one.

    Raises:
      UserError: see `Run.config`.
    """
    if found := runs.find(options.checkpoint or options.workdir):
        base.update_from_flattened_dict(runs.flatten(found[0].config()))
        return base
    return None


def _is_echo(error: BaseException | None) -> bool:
    """Whether an error of a thread only follows a full disk, which the main thread gets and says in a sentence."""
    after = (
        "Event loop is closed",
        "cannot schedule new futures after",
    )  # of orbax, tensorstore and Python's own pools
    return is_full_disk(error) or str(error).startswith(after)


def _without_echoes() -> None:
    """Threads of orbax and tensorstore that meet a full disk print nothing."""
    logging.get_absl_handler().addFilter(lambda record: not (record.exc_info and _is_echo(record.exc_info[1])))
    threading.excepthook = lambda hook: None if _is_echo(hook.exc_value) else threading.__excepthook__(hook)
    sys.unraisablehook = lambda hook: None if _is_echo(hook.exc_value) else sys.__unraisablehook__(hook)


@contextlib.contextmanager
def session(options: Any) -> Iterator[None]:
    """One process of a command: joined to the others, with its errors in sentences."""
    if not options["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
        # Orbax warns of every save without an evaluation. There are many such saves.
        logging.get_absl_logger().addFilter(lambda record: "tracked_metric" not in record.getMessage())
    _without_echoes()
    try:
        with distributed.end_for_all(), sentences():
            distributed.initialize(*(options[name].value for name in distributed.FLAGS))
            yield
    except preemption.Preempted as stop:
        if distributed.is_first():
            print(f"{stop}; the same command goes on from there.")
        sys.exit(stop.code)
