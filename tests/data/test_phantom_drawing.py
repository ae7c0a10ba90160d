"""The drawn data set: deterministic, exact below a pixel, and consistent under mirroring."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from data.phantom import drawing, shapes
from data.phantom import figure as model
from h3r_jax.landmarks import PHANTOM23

GREY = np.full(3, 0.5)


def scene(index, **changes):
    """A scene without what the camera adds, so that the picture shows the drawing alone."""
    sequence = np.random.SeedSequence([11, index])
    sampled = drawing.sample_scene(np.random.Generator(np.random.PCG64(sequence)))
    return dataclasses.replace(sampled, **{"blur": 0.0, "noise": 0.0, "occluder": None, **changes})


def paint(figure, size=96):
    """The figure alone on grey, linear light, float64[3, size, size]."""
    pixels = np.full((3, size, size), 0.5)
    model.draw_figure(figure, pixels)
    return pixels


def moved(figure, pixels, size=96):
    """The figure shifted by `pixels` (x, y)."""
    return dataclasses.replace(figure, centre=figure.centre + np.asarray(pixels) / size)


def measured_shift(before, after):
    """The shift (x, y) in pixels that best explains the difference of two pictures, to first order."""
    # Blurred, because central differences would underrate the slope of a sharp edge.
    before, after = (ndimage.gaussian_filter(picture, (0, 2, 2)) for picture in (before, after))
    mean = (before + after) / 2
    dy, dx = np.gradient(mean, axis=(1, 2))
    slopes = np.stack([dx.ravel(), dy.ravel()], axis=1)
    return -np.linalg.lstsq(slopes, (after - before).ravel(), rcond=None)[0]


def test_same_arguments_give_the_same_bytes_and_others_do_not():
    first, again = drawing.draw(3, 5), drawing.draw(3, 5)
    for one, two in zip(first, again):
        assert one.tobytes() == two.tobytes()
    for other in (drawing.draw(3, 6), drawing.draw(4, 5), drawing.draw(5, 3)):
        assert np.abs(first.image.astype(int) - other.image).mean() > 5
        assert np.abs(first.landmarks - other.landmarks).max() > 1


def test_drawing_does_not_depend_on_the_global_generator_or_on_order():
    np.random.seed(0)
    later = [drawing.draw(3, index).image for index in (2, 1)]
    np.random.seed(1)
    assert (drawing.draw(3, 1).image == later[1]).all()
    assert (drawing.draw(3, 2).image == later[0]).all()


@pytest.mark.parametrize("size", [32, 96, 131])
def test_types_and_bounds(size):
    for index in range(10):
        image, landmarks, visibility, box = drawing.draw(0, index, size)
        assert image.shape == (size, size, 3) and image.dtype == np.uint8
        assert image.flags.c_contiguous and image.std() > 10
        assert landmarks.shape == (model.NUM_LANDMARKS, 2) and landmarks.dtype == np.float64
        assert visibility.shape == (model.NUM_LANDMARKS,) and visibility.dtype == np.float32
        assert box.shape == (4,) and box.dtype == np.float64


def test_the_figure_lies_inside_and_fills_the_picture():
    for index in range(300):
        figure = scene(index).figure
        landmarks, box = figure.landmarks(96), figure.box(96)
        assert landmarks.min() > 2 and landmarks.max() < 93
        assert box.min() > 2 and box.max() < 93
        assert 0.5 < max(box[2:] - box[:2]) / 96 < 0.75


@pytest.mark.parametrize("shift", [(0.1, 0.0), (0.0, 0.1), (-0.07, 0.07)])
def test_a_shift_below_a_pixel_moves_the_picture_by_just_that(shift):
    for index in range(5):
        figure = scene(index).figure
        before, after = paint(figure), paint(moved(figure, shift))
        assert np.abs(after - before).max() > 0.02
        np.testing.assert_allclose(measured_shift(before, after), shift, atol=0.01)


def test_a_shift_of_a_tenth_changes_the_bytes_of_the_picture():
    still = scene(0)
    shifted = dataclasses.replace(still, figure=moved(still.figure, (0.1, 0)))
    change = drawing.render(shifted).image.astype(int) - drawing.render(still).image
    assert (change != 0).mean() > 0.02 and np.abs(change).max() >= 5


def test_pupils_have_their_centre_of_gravity_on_the_landmark():
    rows, columns = np.mgrid[:96, :96]
    errors = []
    for index in range(60):
        figure = scene(index).figure
        colours = dict.fromkeys(figure.colours, GREY)
        plain = paint(dataclasses.replace(figure, colours=colours, light_from=0.0))
        colours = {**colours, "pupil": np.zeros(3)}
        dotted = paint(dataclasses.replace(figure, colours=colours, light_from=0.0))
        ink = (plain - dotted)[0]
        for name in ("right_pupil", "left_pupil"):
            x, y = figure.landmarks(96)[model.NAMES.index(name)]
            weight = ink * (np.hypot(columns - x, rows - y) < 6)
            centroid = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
            errors.append(np.subtract(centroid, (x, y)))
    errors = np.abs(errors).max(axis=1)
    # A lid or, in a turned face, the nose may hide the rim of a pupil: real occlusion, and rare.
    assert np.quantile(errors, 0.9) < 0.02
    assert np.median(errors) < 0.005


@pytest.mark.parametrize("radius", [1.2, 2.0, 5.0])
def test_a_disc_keeps_its_centre_and_area(radius):
    rows, columns = np.mgrid[:24, :24]
    for centre in np.random.default_rng(0).uniform(11, 12, (50, 2)):
        pixels = np.zeros((3, 24, 24))
        shapes.Canvas(pixels).paint(lambda x, y, at=centre: shapes.disc(x, y, at, radius), [centre], radius, np.ones(3))
        area = pixels[0].sum()
        found = (pixels[0] * columns).sum() / area, (pixels[0] * rows).sum() / area
        np.testing.assert_allclose(found, centre, atol=0.02)
        assert area == pytest.approx(np.pi * radius**2, rel=0.12)


def test_corners_and_tips_lie_on_the_edges_of_their_shapes():
    outline = np.array([(2.0, 3.0), (20.0, 1.0), (24.0, 14.0), (11.0, 25.0)])
    for rounding in (0.0, 1.5):
        for vertices in (outline, outline[::-1]):
            np.testing.assert_allclose(shapes.polygon(*outline.T, vertices, rounding), 0, atol=1e-9)
            assert shapes.polygon(12.0, 12.0, vertices, rounding) < -5
    corners = np.array([(4.0, 10.0), (16.0, 12.0)])
    np.testing.assert_allclose(shapes.lens(*corners.T, corners, 4.0, 2.0), 0, atol=1e-9)
    upright = np.array([(4.0, 10.0), (16.0, 10.0)])
    np.testing.assert_allclose(shapes.lens(10.0, np.array([6.0, 12.0]), upright, 4.0, 2.0), 0, atol=1e-9)
    line = np.array([(5.0, 5.0), (15.0, 5.0)])
    assert shapes.stroke(17.0, 5.0, line, [1.0, 2.0]) == pytest.approx(0)


def test_every_landmark_is_a_feature_that_can_be_seen_to_move():
    """Moving the point behind a landmark by 0.1 px, along either axis, changes the picture there."""
    for index in range(4):
        figure = scene(index).figure
        before, landmarks = np.sqrt(paint(figure)), figure.landmarks(96)
        for name, row, (x, y) in zip(model.NAMES, model.LANDMARK_ROWS, landmarks):
            column, line = round(x), round(y)
            near = np.s_[:, line - 4 : line + 5, column - 4 : column + 5]
            for axis in (0, 1):
                points = figure.points.copy()
                points[row] += figure.rotation[axis] * 0.1 / (96 * figure.scale)
                after = np.sqrt(paint(dataclasses.replace(figure, points=points)))
                assert np.abs(after - before)[near].max() > 0.004, (index, name, axis)


def test_resolutions_agree_on_where_things_are():
    """One scene at 96 and at 384 pixels: same place within the picture, half-pixel terms included."""
    shifts = []
    for index in range(8):
        figure = scene(index).figure
        np.testing.assert_allclose((figure.landmarks(384) + 0.5) / 4 - 0.5, figure.landmarks(96))
        # The shirt runs out of the picture, where a shift cannot be measured.
        figure = dataclasses.replace(figure, colours={**figure.colours, "shirt": GREY})
        fine = paint(figure, 384).reshape(3, 96, 4, 96, 4).mean(axis=(2, 4))
        coarse = paint(figure, 96)
        assert np.abs(fine - coarse).mean() < 0.005
        shifts.append(measured_shift(fine, coarse))
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=0.02)
    np.testing.assert_allclose(shifts, 0, atol=0.06)


def test_mirror_maps_right_to_left():
    mirror = np.array(PHANTOM23.mirror)
    assert (mirror[mirror] == np.arange(model.NUM_LANDMARKS)).all()
    for name, other in zip(model.NAMES, mirror):
        swapped = {"right": "left", "left": "right"}.get(name.split("_")[0])
        expected = f"{swapped}_{name.split('_', 1)[1]}" if swapped else name
        assert model.NAMES[other] == expected
    flipped = model.MEAN_SHAPE * (-1, 1, 1)
    np.testing.assert_allclose(flipped[mirror], model.MEAN_SHAPE, atol=1e-12)
    average = np.mean([scene(index).figure.landmarks(96) for index in range(200)], axis=0)
    right = [i for i, name in enumerate(model.NAMES) if name.startswith("right")]
    # The subject's right is the viewer's left.
    assert (average[right, 0] < average[mirror[right], 0]).all()


def test_yaw_turns_the_nose_against_the_eyes():
    figure = dataclasses.replace(scene(1).figure, rotation=np.eye(3))
    where = []
    for angle in (-0.4, 0.4):
        turned = dataclasses.replace(figure, rotation=model.rotation(angle, 0.0, 0.0)).landmarks(96)
        eyes = turned[list(PHANTOM23.normalizer())].mean(axis=0)
        where.append(turned[model.NAMES.index("nose_tip"), 0] - eyes[0])
    assert where[1] - where[0] > 3
    turn = model.rotation(0.3, -0.2, 0.1)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_visibility_agrees_with_the_occluder():
    hidden = seen = 0
    for index in range(150):
        drawn = scene(index)
        sequence = np.random.SeedSequence([11, index])
        occluder = drawing.sample_scene(np.random.Generator(np.random.PCG64(sequence))).occluder
        if occluder is None:
            assert drawing.render(drawn).visibility.all()
            continue
        black = dataclasses.replace(occluder, colours=(np.zeros(3), np.zeros(3)))
        image, landmarks, visibility, _ = drawing.render(dataclasses.replace(drawn, occluder=black))
        plain = drawing.render(drawn)
        assert (landmarks == plain.landmarks).all()
        distance = occluder.distance(*landmarks.T, 96)
        columns, rows = np.rint(landmarks).astype(int).T
        # The ramp and the rounding to a pixel reach 1.71 px together.
        assert (image[rows, columns][distance < -1.8] == 0).all()
        same = (image == plain.image).all(axis=-1)
        assert same[rows, columns][distance > 1.8].all()
        assert (visibility == (distance >= 0)).all()
        hidden, seen = hidden + (visibility == 0).sum(), seen + (visibility == 1).sum()
    assert hidden > 20 and seen > 200


@pytest.mark.parametrize("size", [0, -5, 31, 96.0, "96", None, True])
def test_a_bad_size_is_refused_with_a_sentence(size):
    with pytest.raises(ValueError, match="size must be an integer of at least 32, not"):
        drawing.draw(0, 0, size)


@pytest.mark.parametrize("name", ["seed", "index"])
def test_a_negative_seed_or_index_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 0, not -1"):
        drawing.draw(**{"seed": 0, "index": 0, name: -1})
