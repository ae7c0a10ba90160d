"""Random changes on the device: keys, ranges, and each change against a formula.

For the geometry see tests/data/test_input_path.py.
"""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from h3r_jax import augment, geometry
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.training import step

ALL = augment.Augmentation(rotation=30.0, scale=0.25, shift=0.05, mirror=0.5, color=0.3, blur=1.0, occlusion=0.5)
SHAPE = (32, 48)
SCHEME = LandmarkScheme("three", 3, (1, 0, 2), (("pair", (0, 1)),))


def batch(indices):
    """One and the same content under the given indices, so that only the keys differ."""
    rng = np.random.default_rng(0)
    shape = augment.canvas_shape(ALL, SHAPE)
    canvas = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    landmarks = rng.uniform(10, 30, (3, 2)).astype(np.float32)
    weight = np.array([1.0, 0.5, 0.25], np.float32)
    count = len(indices)
    return {
        "image": np.stack([canvas] * count),
        **augment.central_crops(count, SHAPE, shape),
        "landmarks": np.stack([landmarks] * count),
        "weight": np.stack([weight] * count),
        "index": np.array(indices, np.int32),
    }


@jax.jit
def compiled(examples, number, seed):
    network = types.SimpleNamespace(shape=SHAPE, scheme=SCHEME)
    recipe = types.SimpleNamespace(seed=seed, augmentation=ALL, network=network)  # all that augment_batch reads
    return step.augment_batch(examples, number, recipe)


def augmented(indices, number, seed=0):
    """Images, landmarks and weight of a batch at a step, numpy."""
    return [np.asarray(x) for x in compiled(batch(indices), number, seed)]


def same(one, two):
    return all(np.abs(a - b).max() < 1e-3 for a, b in zip(one, two))


def test_an_example_depends_on_seed_step_and_index_alone():
    first = augmented([3, 7, 11, 20], 5)
    assert same(first, augmented([3, 7, 11, 20], 5))
    # Another place in the batch, other neighbours.
    moved = augmented([40, 11, 3, 41], 5)
    assert same([x[2] for x in moved], [x[0] for x in first])
    assert same([x[1] for x in moved], [x[2] for x in first])
    for other in (augmented([3, 7, 11, 20], 6), augmented([3, 7, 11, 20], 5, seed=1)):
        for i in range(4):
            assert not same([x[i] for x in other], [x[i] for x in first])
    for i in range(1, 4):
        assert np.abs(first[1][i] - first[1][0]).max() > 0.1, "examples of one batch move apart"


def test_no_augmentation_is_the_plain_crop_of_the_canvas():
    none = augment.Augmentation()
    canvas_shape = augment.canvas_shape(none, SHAPE)
    assert canvas_shape == tuple(int(np.ceil(augment.CANVAS_DENSITY * n)) for n in SHAPE)
    place = augment.central_crops(1, SHAPE, canvas_shape)
    to_canvas = geometry.invert(place["matrix"][0].astype(np.float64))
    margins = (
        to_canvas[:, 2],
        np.subtract(canvas_shape[::-1], 1) - (to_canvas[:, :2] @ np.subtract(SHAPE[::-1], 1) + to_canvas[:, 2]),
    )
    np.testing.assert_allclose(*margins, atol=1e-5, err_msg="the crop lies in the middle of its canvas")
    landmarks = np.random.default_rng(0).uniform(0, 30, (3, 2))
    ramp = np.broadcast_to(3 * np.arange(canvas_shape[1])[None, :, None], (*canvas_shape, 3)).astype(np.uint8)
    on_canvas = (landmarks @ to_canvas[:, :2].T + to_canvas[:, 2]).astype(np.float32)
    options = {"augmentation": none, "shape": SHAPE, "mirror_order": SCHEME.mirror}
    image, moved, weight = jax.jit(lambda *example: augment.augment_example(*example, **options))(
        jax.random.key(0), ramp, place["matrix"][0], place["edges"][0], on_canvas, np.ones(3, np.float32)
    )
    np.testing.assert_allclose(moved, landmarks, atol=1e-4)
    np.testing.assert_array_equal(weight, 1)
    expected = 3 * (augment.CANVAS_DENSITY * np.arange(SHAPE[1]) + to_canvas[0, 2])
    np.testing.assert_allclose(image[:, :, 1], np.broadcast_to(expected, SHAPE), atol=1e-3)


@pytest.mark.parametrize(
    "augmentation",
    [ALL, augment.Augmentation(rotation=90.0), augment.Augmentation(rotation=45.0, scale=0.5, shift=0.3)],
    ids=["all", "quarter", "far"],
)
def test_the_canvas_holds_every_crop_and_little_more(augmentation):
    """Of an image that is finer than the canvas, and of one that is coarser and gives its pixels as they are."""
    canvas = augment.canvas_shape(augmentation, SHAPE)
    size = np.array(SHAPE[::-1])
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (size - 1)
    matrices = jax.vmap(lambda key: augment.random_matrix(key, augmentation, SHAPE))(
        jax.random.split(jax.random.key(0), 20000)
    )
    linear = np.linalg.inv(np.asarray(matrices[:, :, :2], np.float64))
    plain = np.einsum("nij,ncj->nci", linear, corners - np.asarray(matrices)[:, None, :, 2])
    scales = np.array([0.3, 0.7, 1.2, 2.0, 4.7])  # crop pixels per image pixel
    crops = scales[:, None, None] * np.array([[1, 0, -20.3], [0, 1, 33.8]])
    matrices, sizes = augment.place_canvases(crops, SHAPE, canvas)
    for scale, crop, matrix, shape in zip(scales, crops, matrices, sizes, strict=True):
        if coarse := scale > 1:
            assert (matrix[:, :2] == np.eye(2)).all() and (matrix[:, 2] % 1 == 0).all()
            assert (shape < np.array(canvas) / augment.CANVAS_DENSITY / scale + 3).all()
        else:
            assert matrix[0, 0] == pytest.approx(augment.CANVAS_DENSITY * scale) and shape.tolist() == list(canvas)
        on_canvas = geometry.transform_points(geometry.compose(matrix, geometry.invert(crop)), plain.reshape(-1, 2))
        limit = shape[::-1] - 1
        low, high = on_canvas.min(axis=0), on_canvas.max(axis=0)
        assert (low >= 0).all() and (high <= limit).all(), "a crop would see beyond its canvas"
        # Of 20,000 crops the widest comes close: the canvas is not larger than it must be.
        assert (low < 0.08 * limit + 1.5 * coarse).all() and (high > 0.92 * limit - 1.5 * coarse).all()


def test_blur_is_a_gaussian_and_none_is_none():
    image = np.random.default_rng(1).uniform(0, 255, (20, 24, 3)).astype(np.float32)
    blur = jax.jit(augment.gaussian_blur, static_argnames="reach")
    for sigma in (0.5, 1.2):
        expected = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest", radius=(6, 6, 0))
        np.testing.assert_allclose(blur(image, sigma, reach=6), expected, atol=1e-2)
    np.testing.assert_allclose(blur(image, 0.0, reach=6), image, atol=1e-3)


def test_color_changes_by_bounded_gains_per_channel():
    image = np.full((6, 7, 3), [60.0, 100.0, 140.0], np.float32)
    gains = []
    for seed in range(200):
        changed = np.asarray(augment.change_color(jax.random.key(seed), jnp.asarray(image), 0.3))
        assert np.ptp(changed, axis=(0, 1)).max() < 1e-3, "a uniform picture stays uniform"
        assert changed.min() >= 0 and changed.max() <= 255
        gains.append(changed[0, 0] / image[0, 0])
    gains = np.array(gains)
    assert (gains.std(axis=0) > 0.1).all() and np.abs(np.log(gains).mean(axis=0)).max() < 0.1
    assert np.corrcoef(gains.T)[0, 1] < 0.9, "channels change apart"
    np.testing.assert_allclose(augment.change_color(jax.random.key(0), jnp.asarray(image), 0.0), image, atol=1e-3)


def test_occlusion_is_one_rectangle_of_one_colour():
    shape = np.array([40, 60])
    image = jnp.full((*shape, 3), -1.0)
    extents, centers = [], []
    for seed in range(150):
        covered = np.asarray(augment.occlude(jax.random.key(seed), image))
        inside = (covered != -1).all(axis=-1)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        assert inside.sum() == len(rows) * len(columns), "not a rectangle"
        assert len(np.unique(covered[inside], axis=0)) == 1, "not one colour"
        if 0 < rows[0] and rows[-1] < 39 and 0 < columns[0] and columns[-1] < 59:  # whole
            extents.append([len(rows), len(columns)])
        centers.append([rows.mean(), columns.mean()])
    assert len(extents) > 40
    assert (np.min(extents, axis=0) >= 0.1 * shape - 1).all() and (np.max(extents, axis=0) <= 0.4 * shape + 1).all()
    assert (np.ptp(centers, axis=0) > 0.8 * shape).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rotation": -1.0}, "augment.rotation"),
        ({"scale": float("nan")}, "augment.scale"),
        ({"shift": float("inf")}, "augment.shift"),
        ({"blur": "1"}, "augment.blur"),
        ({"mirror": 1.5}, "augment.mirror is 1.5; want a finite number from 0 to 1"),
        ({"occlusion": 2}, "augment.occlusion is 2; want a finite number from 0 to 1"),
        ({"color": 1.0}, "augment.color is 1.0; want a finite number from 0 to 0.999999"),
    ],
)
def test_ranges_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        augment.Augmentation(**fields)
