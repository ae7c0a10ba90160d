"""What functions are told besides arrays is checked alike, whatever holds it; and values near the ends of float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from h3r_jax import codec, geometry, losses, metrics
from h3r_jax.codec import arguments
from h3r_jax.metrics import oks

MAPS = jax.ShapeDtypeStruct((2, 9, 9, 3), np.float32)
PLACES = jax.ShapeDtypeStruct((2, 3, 2), np.float32)
KEY = jax.eval_shape(lambda: jax.random.key(0))
POINTS = jax.eval_shape(functools.partial(codec.activation_points, heatmap_shape=(9, 9)), PLACES)
SHAPE = {"heatmap_shape": (9, 9)}
ORDER = (2, 1, 0)
HELD = {
    "python": lambda value: value,
    "numpy scalar": lambda value: np.asarray(value)[()],
    "numpy array": np.asarray,
    "jax array": jnp.asarray,
}


def traced(function, *arrays, **options):
    """A call by the options that a test adds: by shapes alone, so that nothing is compiled."""
    return lambda **added: jax.eval_shape(functools.partial(function, **options, **added), *arrays)


DECODERS = {
    name: traced(function, MAPS)
    for name, function in vars(codec).items()
    if name.startswith("decode") and name in codec.__all__
}
ENCODERS = {
    "activation_points": traced(codec.activation_points, PLACES),
    "threshold_rounding": traced(codec.threshold_rounding, PLACES),
    "randomized_rounding": traced(codec.randomized_rounding, KEY, PLACES),
    "encode": traced(codec.encode, KEY, PLACES),
    "expected_heatmap": traced(codec.expected_heatmap, PLACES),
    "encode_gaussian": traced(codec.encode_gaussian, PLACES),
}
COOLED = [name for name in DECODERS if name in ("decode", "decode_with_statistics") or "soft_argmax" in name]
BINARY = traced(losses.binary_cross_entropy, jax.ShapeDtypeStruct((2, 9, 9, 3), np.float32), POINTS)
NME, HEADS = metrics.NormalizedErrors(np.ones(3)), metrics.HeadErrors(np.ones((3, 16)), np.ones((3, 16), bool))
# (function, name of its argument) -> numbers that it must refuse
NUMBERS = {
    (function, "temperature"): (-1, 0, np.nan, np.inf, 1e-40) for name in COOLED for function in (DECODERS[name],)
}
NUMBERS |= {(function, "stride"): (-4, 0, np.nan, np.inf, 1e-46) for function in DECODERS.values()}
NUMBERS |= {(functools.partial(function, **SHAPE), "stride"): (-4.0, 0, np.nan, 1e39) for function in ENCODERS.values()}
NUMBERS |= {
    (functools.partial(ENCODERS["encode_gaussian"], **SHAPE), "sigma"): (-2.0, 0, np.inf, 1e-30),
    (functools.partial(ENCODERS["threshold_rounding"], **SHAPE), "threshold"): (-0.5, 1.5, np.nan),
    (DECODERS["decode_debiased_soft_argmax"], "background"): (np.nan, -np.inf),
    (traced(codec.expectation, POINTS), "stride"): (-1.0, 0, np.inf),
    (functools.partial(codec.quantization_bias, stride=4.0), "threshold"): (-0.5, 2, np.nan),
    (functools.partial(codec.quantization_bias, threshold=0.5), "stride"): (-1, 0, np.inf),
    (codec.quantization_bound, "stride"): (-1, 0, np.nan),
    (BINARY, "positive_weight"): (-1, 0, np.inf),
    (functools.partial(geometry.crop_matrix, [0, 0, 9, 9], shape=(8, 8)), "scale"): (-1, 0, np.nan),
    (traced(geometry.mirror_heatmaps, MAPS, order=ORDER), "stride"): (-4.0, 0, 0.5, np.nan),
    (NME.failure_rate, "threshold"): (-0.08, np.nan, np.inf),
    (NME.auc, "threshold"): (-0.08, 0, np.inf, 1e9),
    (NME.cumulative, "threshold"): (-0.08, 0, np.nan),
    (HEADS.pckh, "threshold"): (-0.5, np.nan, np.inf),
    (HEADS.groups, "threshold"): (-0.5, 0, np.nan),
    (functools.partial(oks.rescore, [1.0], [[0.5]]), "threshold"): (-0.2, 2, np.nan),
    (functools.partial(oks.suppress, np.ones((1, 1, 2)), [1], [1], [1], [0.1]), "threshold"): (-0.2, 20, np.nan),
}


@pytest.mark.trial("C11")
@pytest.mark.parametrize("held", HELD)
def test_numbers_out_of_range(held):
    for n, ((function, name), values) in enumerate(NUMBERS.items()):
        value = values[(n + list(HELD).index(held)) % len(values)]
        with pytest.raises(ValueError, match=f"{name} must be"):
            function(**{name: HELD[held](value)})


@pytest.mark.trial("C11")
@pytest.mark.parametrize(
    "value", [True, "1", None, 1j, [1.0, 2.0, 3.0, 4.0], np.ones((2, 2)), [[1.0], [2.0, 3.0]]], ids=str
)
def test_no_numbers(value):
    for name in ("decode", "decode_soft_argmax", "decode_debiased_soft_argmax"):
        with pytest.raises(ValueError, match="temperature must be one number, positive, within"):
            DECODERS[name](temperature=value)
    for function in (NME.failure_rate, NME.auc, HEADS.pckh, functools.partial(codec.quantization_bias, stride=4.0)):
        with pytest.raises(ValueError, match="threshold must be one number"):
            function(threshold=value)
    with pytest.raises(ValueError, match="positive_weight must be one number"):
        BINARY(positive_weight=value)
    with pytest.raises(ValueError, match="stride"):
        codec.quantization_bound(value)


@pytest.mark.parametrize("held", HELD)
def test_numbers_within_range_are_the_same_whatever_holds_them(held):
    for name in COOLED:
        assert DECODERS[name](temperature=HELD[held](0.5), stride=HELD[held](np.float32(2.5)))
    for value in (1, 2**24, 0.25):
        assert arguments.positive("stride", HELD[held](value)) == value
    np.testing.assert_array_equal(arguments.strides(HELD[held]((4.0, 2.0)), 2), (4, 2))


def test_traced_numbers_pass():
    place = jnp.ones((1, 2))

    def everything(number):
        maps = jnp.arange(81.0).reshape(9, 9, 1)
        decoded = [
            codec.decode(maps, temperature=number, stride=(number, 2.0)),
            codec.decode_soft_argmax(maps, temperature=number),
            codec.decode_debiased_soft_argmax(maps, temperature=number, background=number),
            codec.expectation(codec.threshold_rounding(place, threshold=number / 9, stride=number, **SHAPE)),
        ]
        heatmap = codec.encode_gaussian(place, sigma=number, **SHAPE)
        points = codec.activation_points(place, **SHAPE)
        return (
            sum(jnp.sum(each) for each in decoded)
            + losses.binary_cross_entropy(heatmap, points, positive_weight=number).sum()
        )

    jax.eval_shape(jax.jit(jax.value_and_grad(everything)), 2.0)
    jax.eval_shape(jax.vmap(everything), jnp.ones(3))
    with pytest.raises(ValueError, match="temperature must be one number.* shape \\(3,\\)"):
        jax.eval_shape(lambda t: codec.decode(jnp.zeros((9, 9, 1)), temperature=t), jnp.ones(3))
    with pytest.raises(ValueError, match="k must be a whole number .* static"):
        jax.eval_shape(lambda k: codec.decode(jnp.zeros((9, 9, 1)), k=k), 3)


@pytest.mark.trial("C11")
@pytest.mark.parametrize(
    "value", [-1, 0, 2.0, np.float32(2), True, np.True_, "2", None, jnp.asarray(-1), np.array([2])], ids=str
)
def test_no_whole_numbers(value):
    for function in DECODERS.values():
        with pytest.raises(ValueError, match="ndim must be a whole number of at least 1"):
            function(ndim=value)
    for function in (DECODERS["decode"], DECODERS["decode_with_statistics"]):
        with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
            function(k=value)
    for name, option in (("dark", "kernel_size"), ("udp", "kernel_size"), ("local_soft_argmax", "window")):
        with pytest.raises(ValueError, match=f"{option} must be"):
            DECODERS[f"decode_{name}"](**{option: value})
    for function in (geometry.mirror_matrix, functools.partial(codec.quantization_bound, 4.0)):
        with pytest.raises(ValueError, match="must be a whole number"):
            function(value)


def test_windows_are_odd():
    for name, option in (("dark", "kernel_size"), ("udp", "kernel_size"), ("local_soft_argmax", "window")):
        with pytest.raises(ValueError, match=f"{option} must be odd, got 2"):
            DECODERS[f"decode_{name}"](**{option: 2})


@pytest.mark.trial("C11")
@pytest.mark.parametrize(
    "shape",
    [
        (9.0, 9),
        (np.float32(9), 9),
        (0, 9),
        (9, -9),
        (True, 9),
        "99",
        9,
        None,
        (),
        ("9", 9),
        (9, None),
        (2**25, 1),
        (2**16, 2**16),
    ],
    ids=str,
)
def test_no_shapes(shape):
    for function in ENCODERS.values():
        with pytest.raises(ValueError, match="heatmap_shape must be"):
            function(heatmap_shape=shape)
    with pytest.raises(ValueError, match="heatmap_shape must be"):
        traced(codec.scatter, POINTS)(heatmap_shape=shape)
    with pytest.raises(ValueError, match="shape must be"):
        geometry.crop_matrix([0, 0, 9, 9], shape=shape)


@pytest.mark.trial("C11")
@pytest.mark.parametrize("shape", [(9,), (9, 9, 9), (9, 9, 9, 9)])
def test_shapes_of_another_number_of_axes(shape):
    for function in ENCODERS.values():
        with pytest.raises(ValueError, match="coordinates have 2 axes"):
            function(heatmap_shape=shape)
    with pytest.raises(ValueError, match="cells of maps of 9x9 cells"):
        traced(codec.scatter, POINTS)(heatmap_shape=shape)
    with pytest.raises(ValueError, match="shape must be \\(H, W\\)"):
        traced(geometry.warp_image, jax.ShapeDtypeStruct((9, 9, 3), np.float32), np.eye(2, 3))(shape=shape)


@pytest.mark.trial("C11")
@pytest.mark.parametrize("coordinates", [3.0, [3.0, 4.0], np.ones(3, np.float32)], ids=str)
def test_coordinates_without_an_axis_of_landmarks(coordinates):
    for function in (codec.activation_points, codec.threshold_rounding):
        with pytest.raises(ValueError, match=r"coordinates must be \[..., K, 2\], got \("):
            function(coordinates, heatmap_shape=(9, 9))


def test_shapes_of_numpy_are_shapes():
    for shape in ([9, 9], np.array([9, 9]), (np.int64(9), np.uint8(9)), jnp.array([9, 9])):
        for function in ENCODERS.values():
            assert function(heatmap_shape=shape)


@pytest.mark.trial("C11")
@pytest.mark.parametrize("name", ["", "TOP_K", None, 3, ("top_k",), np.array(["softmax", "top_k"])], ids=str)
def test_no_names(name):
    for function in (DECODERS["decode"], DECODERS["decode_with_statistics"]):
        for option in ("selection", "activation"):
            with pytest.raises(ValueError, match=f"unknown {option} .*; known are"):
                function(**{option: name})


@pytest.mark.trial("C11")
@pytest.mark.parametrize("order", [(0, 1), (0, 1, 1), (1, 2, 3), (0.0, 1.0, 2.0), (-1, 0, 1), "210", None], ids=str)
def test_no_orders(order):
    with pytest.raises(ValueError, match="order must name each of 3 landmarks once"):
        geometry.mirror_landmarks(np.ones((3, 2)), 9, order)
    with pytest.raises(ValueError, match="order must name each of 3 landmarks once"):
        traced(geometry.mirror_heatmaps, MAPS, stride=4.0)(order=order)


def test_other_bad_options():
    with pytest.raises(ValueError, match="index of upper_body must be a whole number within \\[0, 15\\], got 16"):
        geometry.half_body_boxes(np.ones((16, 2)), np.ones(16), [0, 16])
    for sigma in (0, -1, np.nan):
        with pytest.raises(ValueError, match="a sigma must be positive"):
            metrics.keypoint_similarity(np.ones((1, 2)), np.ones((1, 2)), [1], 1.0, [sigma])


@pytest.mark.trial("C11")
@pytest.mark.parametrize(
    "far",
    [np.int64(2**40), np.int64(2**32 + 4), np.int64(-(2**33)), np.uint64(2**63), np.uint32(2**32 - 4), 1e300, 2**70],
    ids=str,
)
def test_numbers_far_outside_do_not_come_back(far):
    """Without 64 bits, JAX keeps the last 32 bits of a whole number."""
    coordinates = np.array([[far, far], [0, 0]], getattr(far, "dtype", None))
    with jax.disable_jit():
        points = codec.threshold_rounding(coordinates, **SHAPE)
    assert points.inside.tolist() == [False, True]
    assert points.cells[:, 0].tolist() == [[8, 8] if far > 0 else [0, 0], [0, 0]]
    np.testing.assert_array_equal(
        arguments.real_coordinates(coordinates.tolist()), arguments.real_coordinates(coordinates)
    )


def test_coordinates_that_are_no_real_numbers():
    for coordinates in (
        [["1", "2"]],
        np.ones((1, 2), complex),
        np.ones((1, 2), bool),
        [[None, 1]],
        [[1.0], [1.0, 2.0]],
    ):
        for function in (codec.activation_points, codec.threshold_rounding, codec.encode_gaussian):
            with pytest.raises(ValueError, match="coordinates must be an array of real numbers"):
                function(coordinates, **SHAPE)


def test_whole_coordinates_are_mirrored_as_floats():
    for dtype in (np.uint8, np.uint16, np.int64):
        landmarks = np.array([[250, 3], [1, 2]], dtype)
        want = [[298.0, 2.0], [49.0, 3.0]]
        np.testing.assert_array_equal(geometry.mirror_landmarks(landmarks, 300, (1, 0)), want)
    np.testing.assert_array_equal(geometry.mirror_landmarks(jnp.asarray([[250, 3]], np.uint8), 300, (0,)), want[1:])
