"""Pictures are written, not empty, and show what they were given."""

import io

import numpy as np
import pytest
from etils import epath
from matplotlib.collections import EllipseCollection, PathCollection
from matplotlib.colors import to_hex
from PIL import Image

from h3r_jax import codec, visualize
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.metrics import NormalizedErrors
from h3r_jax.predict import Prediction

SCHEME = LandmarkScheme("three", 3, (1, 0, 2), (("pair", (0, 1)),), connections=((0, 1), (1, 2)))


def pixels(figure):
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return np.asarray(Image.open(content).convert("RGB")).astype(int)


def test_sheet_of_images_of_several_sizes_is_saved_as_png(tmp_path):
    images = [np.full((20, 30, 3), 255.0), np.zeros((16, 16, 3), np.uint8), np.full((8, 40, 3), 300.0)]
    landmarks = np.random.default_rng(0).uniform(0, 16, (3, 3, 2))
    landmarks[1, 2] = np.nan  # not labelled
    figure = visualize.landmark_sheet(
        images,
        landmarks,
        weight=[[1, 1, 1], [1, 0, 0], [0, 0, 0]],
        truth=landmarks + 1,
        covariance=np.tile(4 * np.eye(2), (3, 3, 1, 1)),
        scheme=SCHEME,
        titles=["a", "b", "c"],
        columns=2,
    )
    ellipses = [[c for c in axes.collections if isinstance(c, EllipseCollection)] for axes in figure.axes[:3]]
    assert [len(drawn.get_offsets()) for (drawn,) in ellipses] == [3, 2, 3]
    path = epath.Path(tmp_path) / "made" / "sheet.png"
    visualize.save(figure, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        width, height = image.size
        assert width > 300 and height > 300  # two columns, two rows
        assert len(image.convert("RGB").getcolors(1 << 20)) > 10


def test_a_landmark_is_drawn_where_it_is():
    image = np.zeros((10, 10, 3), np.uint8)
    places = []
    for x, y in ((1, 1), (8, 1), (1, 8)):
        drawn = pixels(visualize.landmark_sheet([image], np.array([[[x, y]]], float)))
        colour = np.array([int(visualize.PREDICTED[i : i + 2], 16) for i in (1, 3, 5)])
        rows, columns = np.nonzero(np.abs(drawn - colour).sum(axis=-1) < 60)
        places.append((columns.mean(), rows.mean()))
    origin, right, below = np.array(places)
    side = right[0] - origin[0]
    assert side > 50
    np.testing.assert_allclose(right - origin, [side, 0], atol=1.5)
    np.testing.assert_allclose(below - origin, [0, side], atol=1.5)  # y points down


def test_a_landmark_outside_the_image_does_not_move_it():
    image = np.zeros((10, 20, 3), np.uint8)
    prediction = Prediction(
        np.array([[-5.0, 0, 30, 40]]), np.array([[[40.0, 5], [5, -30], [3, 3]]]), np.ones((1, 3)), np.ones((1, 3, 2, 2))
    )
    sheet = visualize.landmark_sheet([image], prediction.landmarks, truth=prediction.landmarks + 9)
    for figure in (sheet, visualize.overlay(image, prediction, SCHEME)):
        visualize.to_pixels(figure)
        (axes,) = figure.axes
        assert axes.get_xlim() == (-0.5, 19.5) and axes.get_ylim() == (9.5, -0.5)


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        visualize.landmark_sheet([], np.zeros((0, 3, 2)))


def test_cumulative_error_curves_are_drawn():
    errors = {"k=9": NormalizedErrors(np.linspace(0, 0.1, 50)), "argmax": NormalizedErrors(np.linspace(0.02, 0.2, 50))}
    figure = visualize.cumulative_error_curve(errors, 0.1)
    (axes,) = figure.axes
    assert [line.get_xydata()[-1].round(3).tolist() for line in axes.lines] == [[10, 1], [10, 0.44]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["k=9 (NME 5.00)", "argmax (NME 11.00)"]
    assert len(np.unique(pixels(figure).reshape(-1, 3), axis=0)) > 10


def colored(image, name):
    """Rows and columns of the pixels that have nearly that colour."""
    color = np.array([int(name[i : i + 2], 16) for i in (1, 3, 5)])
    return np.nonzero(np.abs(np.asarray(image, int) - color).sum(axis=-1) < 60)


def test_an_overlay_is_the_image_with_ellipses_of_two_deviations():
    """Drawn four times as large. An ellipse of 2 x 8 pixels that slants down to the right reaches 4 and 16 each way."""
    image = np.zeros((120, 160, 3), np.uint8)
    turn = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    covariance = turn @ np.diag([64.0, 4.0]) @ turn.T
    prediction = Prediction(
        np.array([[20.0, 20.0, 139.0, 99.0]]),
        np.array([[[80.0, 60.0], [30.0, 30.0], [40.0, 40.0]]]),
        np.ones((1, 3)),
        np.array([[covariance, np.zeros((2, 2)), np.full((2, 2), np.nan)]]),
    )
    drawn = visualize.to_pixels(visualize.overlay(image, prediction, SCHEME))
    assert drawn.shape == (480, 640, 3)
    rows, columns = colored(drawn, visualize.UNCERTAIN)
    offsets = (np.stack([columns, rows], axis=-1) + 0.5) / 4 - 0.5 - [80, 60]
    along, across = (offsets @ turn).T
    np.testing.assert_allclose([np.abs(along).max(), np.abs(across).max()], [16, 4], atol=0.5)
    rows, columns = colored(drawn, visualize.TRUE)  # the box
    np.testing.assert_allclose([columns.min(), rows.min(), columns.max(), rows.max()], [82, 82, 558, 398], atol=2)


def test_a_part_has_its_colour_and_a_wrong_mirror_order_shows():
    """Two eyes and a mouth; in the mirrored picture each colour is on its side again, unless the order is wrong."""
    image, eyes_and_mouth = np.zeros((40, 40, 3), np.uint8), np.array([[10.0, 10], [30, 10], [20, 30]])
    right, left, middle = visualize.part_colors(SCHEME, 3)
    assert min(np.abs(right - left).max(), np.abs(left - middle).max(), np.abs(right - middle).max()) > 0.5
    for mirror, on_its_side in (((1, 0, 2), True), ((0, 1, 2), False)):
        mirrored = (eyes_and_mouth * [-1, 1] + [39, 0])[list(mirror)]
        drawn = pixels(visualize.landmark_sheet([image], mirrored[None], scheme=SCHEME))
        columns = [colored(drawn, to_hex(color))[1].mean() for color in (right, left)]
        assert (columns[0] < columns[1]) == on_its_side


def test_numbers_stand_beside_their_landmarks():
    image = np.zeros((40, 40, 3), np.uint8)
    landmarks = np.array([[[10.0, 10], [30, 10], [np.nan, 30]]])
    (axes,) = visualize.landmark_sheet([image], landmarks, scheme=SCHEME, numbers=True).axes
    assert [(text.get_text(), text.xy) for text in axes.texts] == [("0", (10, 10)), ("1", (30, 10))]


def test_heatmaps_lie_where_their_cells_stand():
    """The only strong cell of a map of stride 4 is (5, 2): a square of four pixels around pixel (20, 8)."""
    image = np.zeros((32, 32, 3), np.uint8)
    maps = np.zeros((8, 8, 2))
    maps[2, 5] = 1
    drawn = pixels(visualize.heatmap_sheet([image], [maps]))
    reference = pixels(visualize.landmark_sheet([image], np.array([[[20.0, 8.0]]])))
    rows, columns = colored(drawn, "#fcffa4")  # the top of the scale
    point_rows, point_columns = colored(reference, visualize.PREDICTED)
    np.testing.assert_allclose([rows.mean(), columns.mean()], [point_rows.mean(), point_columns.mean()], atol=2)


def test_activation_points_are_as_large_as_their_weights():
    image = np.zeros((16, 16, 3), np.uint8)
    landmarks = np.array([[[5.0, 8.0], [40.0, 4.0]]])  # a quarter of a cell to the right; the other is not inside
    points = codec.activation_points(landmarks, heatmap_shape=(4, 4), stride=4)
    (axes,) = visualize.activation_sheet([image], landmarks, points, stride=4).axes
    scatter, _ = [item for item in axes.collections if isinstance(item, PathCollection)]  # _: the landmarks
    sizes, places = scatter.get_sizes(), np.asarray(scatter.get_offsets())
    expected = {(4.0, 8.0): 0.75, (8.0, 8.0): 0.25}
    found = {tuple(place): size / sizes.max() * 0.75 for place, size in zip(places, sizes) if size}
    assert found == pytest.approx(expected)
