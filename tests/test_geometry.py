"""Boxes, crops and affine maps, against formulas and samplers written apart from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from h3r_jax import geometry

BOXES = np.array([[10.0, 20.0, 110.0, 90.0], [-30.5, 4.25, 12.0, 200.75], [7.0, 7.0, 8.0, 7.0]])
WARP = jax.jit(geometry.warp_image, static_argnums=2)


def random_maps(seed, *shape):
    """Well-conditioned affine maps, `float64[*shape, 2, 3]`."""
    rng = np.random.default_rng(seed)
    angle, zoom = rng.uniform(-3, 3, shape), rng.uniform(0.3, 3, shape)
    linear = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    linear = linear * zoom[..., None, None] + rng.uniform(-0.1, 0.1, (*shape, 2, 2))
    return np.concatenate([linear, rng.uniform(-50, 50, (*shape, 2, 1))], axis=-1)


def apply(matrix, point):
    """One map on one point, in homogeneous coordinates."""
    return (np.vstack([matrix, [0, 0, 1]]) @ [*point, 1])[:2]


@pytest.mark.parametrize("size", [64, 256])
def test_square_crop_is_the_references_with_half_pixel_terms(size):
    for (x0, y0, x1, y1), matrix in zip(BOXES, geometry.crop_matrix(BOXES, shape=(size, size))):
        side = 1.25 * max(x1 - x0 + 1, y1 - y0 + 1)
        corner = (x0 + x1 - side + 1) / 2, (y0 + y1 - side + 1) / 2
        # The reference cuts the pixels from corner to corner + side: their edges lie half a pixel before their centres,
        # and become the edges of the crop, at -1/2 and size - 1/2.
        np.testing.assert_allclose(apply(matrix, np.subtract(corner, 0.5)), -0.5, atol=1e-9)
        np.testing.assert_allclose(apply(matrix, np.add(corner, side - 0.5)), size - 0.5, atol=1e-9)
        np.testing.assert_allclose(apply(matrix, ((x0 + x1) / 2, (y0 + y1) / 2)), (size - 1) / 2, atol=1e-9)
        np.testing.assert_allclose(matrix[:, :2], np.eye(2) * size / side, atol=1e-12)


def test_crop_of_another_aspect_holds_the_grown_box_and_touches_it():
    height, width = 96, 72
    box = np.array([0.0, 0.0, 99.0, 49.0])  # 100 x 50 pixels: the width decides
    matrix = geometry.crop_matrix(box, shape=(height, width), scale=1.5)
    assert matrix[0, 0] == matrix[1, 1] == pytest.approx(width / 150)
    np.testing.assert_allclose(apply(matrix, (-25.5, 24.5)), (-0.5, (height - 1) / 2), atol=1e-9)
    tall = geometry.crop_matrix(box[[1, 0, 3, 2]], shape=(height, width), scale=1.5)
    assert tall[0, 0] == pytest.approx(height / 150)


@pytest.mark.parametrize(
    "box", [[5, 5, 4, 9], [5, 5, 9, 4], [0, 0, np.nan, 4], [0, 0, np.inf, 4]], ids=["x", "y", "nan", "infinite"]
)
def test_bad_boxes_are_named(box):
    boxes = np.array([[0, 0, 4, 4], box], np.float64)
    with pytest.raises(ValueError, match=r"box \(1,\) = .* has no size"):
        geometry.crop_matrix(boxes, shape=(8, 8))
    with pytest.raises(ValueError, match="has no size"):
        geometry.crop_matrix(boxes[1], shape=(8, 8))


@pytest.mark.trial("C11")
@pytest.mark.parametrize("values", [[1, 2, 3], [1, 2, 3, 4, 5], 7, [[1], [2]], [[1, 2, 3]], []], ids=str)
def test_boxes_and_landmarks_of_another_shape_are_refused(values):
    with pytest.raises(ValueError, match=r"boxes must be \[..., 4\], got "):
        geometry.crop_matrix(values, shape=(9, 9))
    with pytest.raises(ValueError, match=r"landmarks must be \[..., K, 2\], got "):
        geometry.landmark_box(values)


@pytest.mark.trial("C11")
@pytest.mark.parametrize("image, matrix", [((9, 9), (2, 3)), ((9, 9, 3), (3, 3)), ((2, 9, 9, 3), (2, 3))])
def test_images_and_maps_of_another_shape_are_refused(image, matrix):
    with pytest.raises(ValueError, match=r"want an image \[H, W, C\] and a matrix \[2, 3\], got "):
        geometry.warp_image(np.zeros(image, np.float32), np.zeros(matrix), (4, 4))


def test_edges_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"want edges \[4\], got \(2, 2\)"):
        geometry.warp_image(np.zeros((9, 9, 3), np.float32), np.zeros((2, 3)), (4, 4), np.zeros((2, 2)))


@pytest.mark.parametrize("scale", [0, -1.25, np.nan, np.inf])
def test_bad_crop_scale_is_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        geometry.crop_matrix(BOXES, shape=(8, 8), scale=scale)


def test_landmark_box_counts_labelled_landmarks_only():
    landmarks = np.array([[1.0, 9.0], [4.0, 2.0], [100.0, -100.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(geometry.landmark_box(landmarks), [1, -100, 100, 9])
    np.testing.assert_array_equal(geometry.landmark_box(landmarks, [1, 0.5, 0, 1]), [1, 2, 4, 9])
    both = geometry.landmark_box(np.stack([landmarks, landmarks]), [[0, 0, 0, 1], [1, 0, 0, 0]])
    np.testing.assert_array_equal(both, [[np.nan] * 4, [1, 9, 1, 9]])


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_maps_compose_invert_and_transform_as_homogeneous_matrices_do(lead, library):
    outer, inner = random_maps(1, *lead), random_maps(2, *lead)
    points = np.random.default_rng(3).uniform(-100, 300, (*lead, 5, 2))
    expected = np.empty_like(points)
    for index in np.ndindex(*lead, 5):
        expected[index] = apply(outer[index[:-1]], apply(inner[index[:-1]], points[index]))
    if library == "jax":
        outer, inner, points = (jnp.asarray(x, jnp.float32) for x in (outer, inner, points))
        compose, transform, invert = map(jax.jit, (geometry.compose, geometry.transform_points, geometry.invert))
        tolerance, kind = 2e-6, jax.Array
    else:
        compose, transform, invert = geometry.compose, geometry.transform_points, geometry.invert
        tolerance, kind = 1e-12, np.ndarray
    scale = np.abs(expected).max()
    composed = compose(outer, inner)
    once = transform(composed, points)
    twice = transform(outer, transform(inner, points))
    back = transform(invert(composed), once)
    assert all(isinstance(x, kind) for x in (composed, once, back))
    for result in (once, twice):
        np.testing.assert_allclose(result, expected, atol=tolerance * scale)
    np.testing.assert_allclose(back, points, atol=30 * tolerance * scale)


def test_one_map_composes_with_many():
    outer, inner = random_maps(1), random_maps(2, 4)
    for matrix, each in zip(geometry.compose(outer, inner), inner):
        np.testing.assert_allclose(apply(matrix, (3, 4)), apply(outer, apply(each, (3, 4))), atol=1e-9)


def test_a_landmark_without_coordinates_does_not_touch_the_others():
    points = np.array([[1.0, 2.0], [np.nan, np.nan]])
    for xp in (np, jnp):
        moved = geometry.transform_points(xp.asarray(random_maps(0)), xp.asarray(points))
        assert np.isfinite(moved[0]).all() and np.isnan(moved[1]).all()


def test_coordinates_meet_no_matrix_product():
    """An accelerator rounds the inputs of a matrix product: 0.5 px at 200 px on a TPU. A CPU does not show it."""

    def everything(matrix, points, image):
        moved = geometry.transform_points(geometry.compose(matrix, geometry.invert(matrix)), points)
        return moved, geometry.warp_image(image, matrix, (8, 8))

    program = str(jax.make_jaxpr(everything)(jnp.eye(2, 3), jnp.zeros((4, 2)), jnp.zeros((8, 8, 3))))
    assert "dot_general" not in program
    assert "dot_general" in str(jax.make_jaxpr(jnp.matmul)(jnp.eye(2), jnp.eye(2)))  # the word to look for


def test_mirror_is_an_involution_and_agrees_with_the_flipped_image():
    width, order = 11, (1, 0, 2)
    landmarks = np.array([[2.0, 3.0], [9.0, 4.0], [5.0, 6.0]])
    mirrored = geometry.mirror_landmarks(landmarks, width, order)
    np.testing.assert_array_equal(geometry.mirror_landmarks(mirrored, width, order), landmarks)
    np.testing.assert_array_equal(
        mirrored, geometry.transform_points(geometry.mirror_matrix(width), landmarks)[[1, 0, 2]]
    )
    assert isinstance(geometry.mirror_landmarks(jnp.asarray(landmarks), width, order), jax.Array)
    image = np.random.default_rng(0).integers(0, 255, (8, width, 3))
    flipped = image[:, ::-1]
    for new, old in enumerate(order):
        x, y = mirrored[new].astype(int)
        np.testing.assert_array_equal(flipped[y, x], image[int(landmarks[old, 1]), int(landmarks[old, 0])])
    np.testing.assert_array_equal(WARP(image, geometry.mirror_matrix(width), (8, width)), flipped)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_warp_is_bilinear_interpolation_and_zero_beyond_the_border(dtype):
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, (23, 31, 3)).astype(dtype)
    seen_beyond = 0
    for seed in range(6):
        matrix = random_maps(seed)
        matrix[:, 2] = [14, 10] - matrix[:, :2] @ rng.uniform(0, 25, 2)  # some of the picture, some of its surroundings
        result = np.asarray(WARP(image, matrix, (20, 28)))
        assert result.dtype == np.float32 and result.shape == (20, 28, 3)
        rows, columns = np.mgrid[:20, :28]
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        x, y, _ = np.einsum("ij,jhw->ihw", inverse, np.stack([columns, rows, np.ones_like(rows)]))
        # With a frame of zeros, scipy fades to zero within one pixel of the border, as a zero beyond it means.
        framed = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
        for channel in range(3):
            expected = ndimage.map_coordinates(framed[..., channel], [y + 1, x + 1], order=1, mode="constant", cval=0.0)
            np.testing.assert_allclose(result[..., channel], expected, atol=0.02)
        beyond = (x <= -1) | (y <= -1) | (x >= 31) | (y >= 23)
        assert not result[beyond].any()
        seen_beyond += beyond.sum()
    assert seen_beyond > 100


def test_edges_within_an_image_are_a_pixel_wide():
    """The part of an image that counts: its outermost pixels reach up to its edges, and nothing is seen beyond."""
    rng = np.random.default_rng(5)
    image = rng.integers(1, 256, (23, 31, 3)).astype(np.uint8)
    edges = np.array([3.7, -40.0, 25.5, 17.2])  # pixels 4 to 25 and 0 to 17
    beyond = 0
    for seed in range(6):
        matrix = random_maps(seed)
        matrix[:, 2] = [14, 10] - matrix[:, :2] @ rng.uniform(0, 20, 2)
        result = np.asarray(WARP(image, matrix, (20, 28), edges.astype(np.float32)))
        rows, columns = np.mgrid[:20, :28]
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        x, y, _ = np.einsum("ij,jhw->ihw", inverse, np.stack([columns, rows, np.ones_like(rows)]))
        seen = (x >= edges[0]) & (x <= edges[2]) & (y >= edges[1]) & (y <= edges[3])
        pixel = np.hypot(*inverse[:2, :2].T)  # of the result, in x and y of the image
        distance = np.minimum(
            np.minimum(abs(x - edges[0]), abs(x - edges[2])) / pixel[0],
            np.minimum(abs(y - edges[1]), abs(y - edges[3])) / pixel[1],
        )
        clear = distance > 0.51  # pixels of the result from an edge
        assert not result[~seen & clear].any()
        beyond += (~seen & clear).sum()
        seen &= clear
        framed = np.pad(image[:18, 4:26].astype(np.float64), ((1, 0), (0, 0), (0, 0)))  # beyond its border it fades
        place = [np.clip(y, -1, 17) + 1, np.clip(x, 4, 25) - 4]
        for channel in range(3):
            expected = ndimage.map_coordinates(framed[..., channel], place, order=1)
            np.testing.assert_allclose(result[seen, channel], expected[seen], atol=0.02)
    assert beyond > 100


@pytest.mark.parametrize("shape", [(37, 53), (1, 1), (2, 90)])
def test_one_gather_of_words_takes_the_same_pixels_as_four_gathers(shape):
    """For every place in and around the image."""
    random = np.random.default_rng(0)
    image = jnp.asarray(random.integers(0, 256, (*shape, 3), np.uint8))
    left, top = (jnp.asarray(random.integers(-4, size + 4, 2000), jnp.int32) for size in reversed(shape))
    for taps in zip(geometry._one_gather(image, left, top), geometry._four_gathers(image, left, top)):
        one, four = (np.where(within[:, None], pixels, 0) for pixels, within in taps)
        np.testing.assert_array_equal(one, four)
