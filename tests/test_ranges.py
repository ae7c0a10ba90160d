"""Every field of a configuration has a range, and whatever is outside of it is one sentence with the field's name.

On the command line, in a config.json, and in what is made from Python.
"""

import functools
import json
import math
import re
import types

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from configs import common, quickstart
from h3r_jax import load_predictor, ranges
from h3r_jax.augment import Augmentation
from h3r_jax.convert import files
from h3r_jax.errors import UserError
from h3r_jax.inference import Network, make_network
from h3r_jax.run import Run, flatten
from h3r_jax.training import command
from h3r_jax.training.recipe import Recipe, check_config
from tests.training import tiny

JSON = common.get_config().to_json()
DEFAULTS = flatten(json.loads(JSON))
NUMBERS = [field for field, wanted in ranges.RANGES.items() if isinstance(wanted, ranges.Number)]
WHOLE = [field for field in NUMBERS if ranges.RANGES[field].whole]
REAL = [field for field in NUMBERS if field not in WHOLE]
TUPLES = [field for field, wanted in ranges.RANGES.items() if isinstance(wanted, ranges.Several)]
ZERO = {  # fields that may be zero; of all others zero is refused
    "seed", "data.cache_bytes", "train.steps", "train.warmup_epochs", "train.weight_decay", "train.average_decay",
    "loss.threshold", "loss.sigma", "loss.margin", "eval.k",
    *(field for field in NUMBERS if field.startswith("augment.")),
}  # fmt: skip
AT_MOST_ONE = {
    "augment.shift", "augment.mirror", "augment.color", "augment.occlusion", "augment.half_body", "train.learning_rate",
    "train.weight_decay", "train.average_decay", "loss.threshold",
}  # fmt: skip


def changed(field, value):
    """The configuration of all defaults with another value of one field, as nested dicts."""
    config = json.loads(JSON)
    *sections, name = field.split(".")
    place = functools.reduce(dict.__getitem__, sections, config)
    place[name] = value
    return config


def refused(field, value):
    shown = tuple(value) if isinstance(value, list) else value
    with pytest.raises(UserError, match=rf"^config\.{field} is {re.escape(repr(shown))}; want [^\n]+$"):
        check_config(changed(field, value))


def test_every_field_has_a_range_and_its_default_is_in_it():
    assert set(ranges.RANGES) == set(DEFAULTS)
    for field, default in DEFAULTS.items():
        assert default in ranges.RANGES[field], field
        kind = next(kind for kind in (bool, int, float, list, str) if isinstance(default, kind))
        wanted = {bool: "Switch", int: "Number", float: "Number", list: "Several", str: "Text"}[kind]
        assert type(ranges.RANGES[field]).__name__ == wanted, field
        if kind in (int, float):
            assert ranges.RANGES[field].whole == (kind is int), field
    check_config(json.loads(JSON))


@pytest.mark.trial("C1")
@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, -math.inf, True, "0.5", None, [1], 10**400])
@pytest.mark.parametrize("field", REAL)
def test_a_number_out_of_range(field, value):
    refused(field, value)


@pytest.mark.trial("C1")
@pytest.mark.parametrize("value", [-1, 0.5, 2.0, math.nan, False, "8", None, -(10**30)])
@pytest.mark.parametrize("field", WHOLE)
def test_a_whole_number_out_of_range(field, value):
    refused(field, value)


@pytest.mark.trial("C1")
@pytest.mark.parametrize("field", [field for field in NUMBERS if field not in ZERO])
def test_zero_where_it_means_nothing(field):
    refused(field, 0)
    if field in REAL:
        refused(field, 1e-50)  # zero in float32


@pytest.mark.trial("C1")
@pytest.mark.parametrize("field", sorted(AT_MOST_ONE))
def test_a_share_above_one(field):
    refused(field, 1.5)
    refused(field, 1 + 1e-9)
    check_config(changed(field, 0.5))


@pytest.mark.trial("C1")
@pytest.mark.parametrize("field", ["augment.color", "train.average_decay"])
def test_a_share_of_one_that_would_leave_nothing(field):
    refused(field, 1.0)
    refused(field, 1 - 1e-9)  # one in float32


@pytest.mark.parametrize("field", sorted(ZERO))
def test_zero_where_it_means_none(field):
    check_config(changed(field, 0))


@pytest.mark.trial("C2")
@pytest.mark.parametrize("seed", [-1, 2**32, 4294967297, 2**63, 2**64, 0.0, 1.5, "1", True])
def test_a_seed_that_would_not_be_kept(seed):
    refused("seed", seed)
    with pytest.raises(UserError, match="^seed is .*; want a whole number from 0 to 4294967295$"):
        tiny.make_recipe(seed=seed)


@pytest.mark.trial("C2")
@pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1])
def test_a_seed_that_is_kept(seed):
    check_config(changed("seed", seed))


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("model.input_size", value) for value in ([], [64], [64, 64, 3], [64.0, 64], [0, 64], [-64, 64], 64, "64")),
        *(("model.input_size", value) for value in ([True, 64], ["64", "64"], [[64, 64]], [10**9, 10**9], None)),
        *(("eval.thresholds", value) for value in (["0.08"], "0.08", 0.08, [8], [0], [1], [math.nan], [0.08, None])),
        *(("landmarks.mirror", value) for value in ([0.0, 1], [-1], "(1, 0)", ["a"], [None])),
        *(("landmarks.normalizer", value) for value in ([1], [0, 1, 2], [0, 1.5], ["a", "b"])),
        *((field, value) for field in ("eval.subsets", "eval.normalizers") for value in ("pose", [""], [1], [["a"]])),
        ("train.epochs", math.inf),
        ("data.box_scale", 1e-30),
        *((field, "https://place/x") for field in ("data_dir", "prepared_dir", "data.folder", "init_from")),
        ("prepared_dir", "a\0b"),
        ("data_dir", "s3://bucket"),
        ("eval.thresholds", [0.08, 1e-30]),
        ("train.batch_size", 10**9),
        ("eval.averaged", 1),
        ("eval.averaged", "true"),
        ("data.name", 5),
        ("model.name", ["mobilenet_v2"]),
        ("init_from", None),
    ],
)
def test_tuples_names_and_switches(field, value):
    refused(field, value)


@pytest.mark.trial("C1")
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: tiny.make_recipe(accumulation=-1), "accumulation is -1; want a whole number of at least 1"),
        (lambda: tiny.make_recipe(accumulation=1.0), "accumulation is 1.0; want a whole number"),
        (lambda: tiny.make_recipe(average_decay=7), "average_decay is 7; want a finite number from 0 to 0.999999"),
        (lambda: Recipe(None, average_decay=math.nan), "average_decay is nan; want"),
        (lambda: Augmentation(rotation=math.nan), "config.augment.rotation is nan; want a finite number from 0 to 360"),
        (lambda: Augmentation(blur=1e9), "config.augment.blur is 1000000000.0; want a finite number from 0 to 10"),
        (lambda: Network(None, tiny.SCHEME, (64, 64, 3)), r"shape is \(64, 64, 3\); want a tuple of 2"),
        (lambda: Network(None, tiny.SCHEME, (64, 64), stride=0), "stride is 0; want a whole number from 1"),
        (lambda: make_network("mobilenet_v2", "ibug68", input_size=64.0), r"shape is \(64.0, 64.0\); want"),
        (lambda: make_network("mobilenet_v2", "ibug68", input_size=64, box_scale=math.inf), "box_scale is inf; want"),
        (lambda: make_network("mobilenet_v2", "ibug68", input_size=64, dtype="float64"), 'dtype "float64" needs'),
        (lambda: make_network("mobilenet_v2", "ibug68", input_size=64, k=True), "k is True; want a whole number"),
    ],
)
def test_what_is_made_from_python(make, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        make()


def test_numbers_of_numpy_are_numbers():
    assert np.float32(0.5) in ranges.RANGES["train.average_decay"] and np.int64(3) in ranges.RANGES["eval.k"]


def parsed(monkeypatch, *arguments):
    """The configuration that train.py has after a command line."""
    values = flags.FlagValues()
    monkeypatch.setattr(command.flags, "FLAGS", values)
    define = functools.partial(config_flags.DEFINE_config_dict, flag_values=values)
    monkeypatch.setattr(command.config_flags, "DEFINE_config_dict", define)
    command._parse(["train.py", f"--config={quickstart.__file__}", *arguments], lambda flags: None)
    return values.config


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("train.epochs=abc", "config.train.epochs is 'abc'; want a finite number above 0"),
        ("train.epochs=", "config.train.epochs is ''; want a finite number above 0"),
        ("train.epochs=1,5", "config.train.epochs is '1,5'; want"),
        ("train.epochs=inf", "config.train.epochs is inf; want"),
        ("train.epochs", "Missing value for flag --config.train.epochs"),
        ("train.epoch=3", "there is no field config.train.epoch; did you mean config.train.epochs?"),
        ("epochs=3", "there is no field config.epochs; did you mean config.train.epochs?"),
        ("train.epochs.x=3", "there is no field config.train.epochs.x; did you mean config.train.epochs?"),
        ("trian.steps=3", "there is no field config.trian.steps; did you mean config.train.steps?"),
        ("train=3", "config.train is a section; want one of its fields, such as config.train.batch_size"),
        ("=3", "there is no field config.; configs/common.py lists the fields"),
        ("seed=1.5", "config.seed is '1.5'; want a whole number from 0 to 4294967295"),
        ("seed=1e3", "config.seed is '1e3'; want a whole number"),
        ("seed=99999999999999999999", "config.seed is 99999999999999999999; want a whole number"),
        ("train.batch_size=16,000", "config.train.batch_size is '16,000'; want a whole number"),
        ("data.cache_bytes=2<<30", "config.data.cache_bytes is '2<<30'; want a whole number"),
        ("model.input_size=64", "config.model.input_size is (64,); want a tuple of 2"),
        ("model.input_size=", "config.model.input_size is ('',); want a tuple of 2"),
        ("model.input_size=64x64", "config.model.input_size is ('64x64',); want a tuple of 2"),
        ("model.input_size=(64,64,3)", "config.model.input_size is (64, 64, 3); want a tuple of 2"),
        ("model.input_size=(64.5,64)", "config.model.input_size is (64.5, 64); want a tuple of 2"),
        ("model.input_size=(64 64)", "config.model.input_size is '(64 64)'; want a tuple of 2"),
        ("landmarks.mirror=(0,1", "config.landmarks.mirror is '(0,1'; want a tuple"),
        ("eval.thresholds=8%", "config.eval.thresholds is ('8%',); want a tuple"),
        ("eval.thresholds=", "config.eval.thresholds is ('',); want a tuple"),
        ("eval.subsets=", "config.eval.subsets is ('',); want a tuple"),
        ("eval.averaged=maybe", "config.eval.averaged is 'maybe'; want true or false"),
    ],
)
def test_a_mistyped_command_line(monkeypatch, argument, sentence):
    with pytest.raises((UserError, SystemExit), match=rf"^(error: )?{re.escape(sentence)}[^\n]*$"):
        check_config(json.loads(parsed(monkeypatch, f"--config.{argument}").to_json()))


def test_a_command_line_that_is_right(monkeypatch):
    arguments = ["eval.thresholds=0.08", "eval.subsets=pose", "model.input_size=64,96", "seed=7", "train.epochs=3"]
    config = parsed(monkeypatch, *(f"--config.{argument}" for argument in arguments), "--noconfig.eval.averaged")
    check_config(json.loads(config.to_json()))
    assert (config.eval.thresholds, config.eval.subsets, config.model.input_size) == ((0.08,), ("pose",), (64, 96))
    assert (config.seed, config.train.epochs, config.eval.averaged) == (7, 3.0, False)


READERS = {
    "run": lambda folder: Run(folder).config(),
    "eval": lambda folder: command.stored_config(
        types.SimpleNamespace(checkpoint=None, workdir=folder), common.get_config()
    ),
    "predict and export": load_predictor,
    "convert": lambda folder: files.load_directory(folder),
}


@pytest.mark.trial("D")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("train.batch_size", "16", "config.train.batch_size is '16'; want a whole number from 1"),
        ("eval.k", "9", "config.eval.k is '9'; want a whole number of at least 0"),
        ("eval.k", None, "config.eval.k is None; want"),
        ("model.input_size", 64, "config.model.input_size is 64; want a tuple of 2"),
        ("model.name", ["a"], "config.model.name is ('a',); want a text"),
        ("eval.averaged", "yes", "config.eval.averaged is 'yes'; want true or false"),
        ("landmarks", "ibug68", "config.landmarks is a section; want one of its fields"),
        ("model.stride", KeyError, "config.model.stride is missing"),
        ("eval", KeyError, "config.eval.batch_size is missing"),
    ],
)
def test_a_config_json_that_was_changed_by_hand(tmp_path, reader, field, value, sentence):
    config = changed(field, value)
    if value is KeyError:
        *sections, name = field.split(".")
        del functools.reduce(dict.__getitem__, sections, config)[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"config\.json: {re.escape(sentence)}[^\n]*$"):
        READERS[reader](tmp_path)
