"""Rules of the ground floor's functions: the key first, options by name, a docstring, complete annotations."""

import inspect
import types

import pytest

from h3r_jax import augment, codec, geometry, losses, metrics

FUNCTIONS = {
    f"{module.__name__.removeprefix('h3r_jax.')}.{name}": function
    for module in (codec, losses, metrics, geometry, augment)
    for name, function in vars(module).items()
    if isinstance(function, types.FunctionType) and function.__module__.startswith(module.__name__) and name[0] != "_"
}


POSITIONAL = {"codec.quantization_bound"}  # its `ndim` may be given by place, as published


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rules(name):
    function = FUNCTIONS[name]
    parameters = inspect.signature(function).parameters
    assert function.__doc__, "has no docstring"
    assert function.__annotations__.keys() == {*parameters, "return"}, "has no type"
    for place, parameter in enumerate(parameters.values()):
        by_name = parameter.kind is parameter.KEYWORD_ONLY
        if parameter.name == "key":
            assert place == 0 or by_name, "the key does not come first"
        elif parameter.default not in (parameter.empty, None):  # None stands for an array that may be absent
            assert by_name or name in POSITIONAL, f"{parameter.name} is an option, but not by name"
