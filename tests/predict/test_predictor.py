"""What a predictor says is where things are, in the pixels of the image, however it is asked."""

import jax
import numpy as np
import pytest
from PIL import Image

from h3r_jax import geometry
from h3r_jax.errors import UserError
from h3r_jax.inference import Network
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.predict import Predictor
from h3r_jax.predict import predictor as predictors
from h3r_jax.predict.predictor import MOST_WAITING
from h3r_jax.predict.reading import MOST_READERS, whole_box
from h3r_jax.training import sharding
from tests.predict import dots

BOX = np.array([60.0, 40.0, 139.0, 119.0])  # a crop pixel is 1.5625 image pixels
CENTERS = np.array([[80.3, 60.8], [120.6, 71.1], [97.2, 103.4]])
PIXELS = dots.picture((160, 200), CENTERS, 3.0)


@pytest.fixture(scope="module")
def predictor():
    return Predictor(dots.network(), dots.VARIABLES, max_batch=16)


def test_points_and_their_spread_in_image_pixels(predictor):
    prediction = predictor(PIXELS, BOX)
    np.testing.assert_allclose(prediction.landmarks[0], CENTERS, atol=0.05)
    # The dot's own spread, the network's blur, and the tent that antialiases (variance 1/6 of a crop pixel each way).
    crop_pixel = 1.25 * 80 / 64
    expected = 3.0**2 + crop_pixel**2 * (dots.BLUR**2 + 1 / 6)
    variances = prediction.covariance[0, :, [0, 1], [0, 1]] / expected
    # The decoder takes off what rounding to cells would add: at most a quarter of a squared cell.
    assert (variances < 1.01).all() and (variances > 1 - 0.26 * (dots.STRIDE * crop_pixel) ** 2 / expected).all()
    assert (prediction.confidence > 0.95).all() and (prediction.confidence <= 1).all()


def test_a_larger_picture_gives_larger_coordinates_and_covariances(predictor):
    large = np.repeat(np.repeat(PIXELS, 2, axis=0), 2, axis=1)
    small = predictor(PIXELS, BOX)
    twice = predictor(large, [*(2 * BOX[:2]), *(2 * BOX[2:] + 1)])
    np.testing.assert_allclose(twice.landmarks, 2 * small.landmarks + 0.5, atol=0.1)
    np.testing.assert_allclose(twice.covariance, 4 * small.covariance, rtol=0.02, atol=0.3)


def test_however_it_is_asked(predictor, tmp_path):
    """Files and arrays of several sizes, one or many, several boxes or none: always the same answer, in order."""
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for i in range(7):
        size = rng.integers(100, 220, 2)
        images.append(dots.picture(size, rng.uniform(0.3, 0.7, (3, 2)) * size[::-1], 3.0))
        corners = rng.uniform(0, 20, (i % 4, 2))
        boxes.append(np.concatenate([corners, corners + 80], axis=1))
    paths = []
    for i, pixels in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    together = predictor(paths, boxes)
    alone = Predictor(dots.network(), dots.VARIABLES, max_batch=3, devices=jax.devices()[:1])
    for path, pixels, box, result in zip(paths, images, boxes, together, strict=True):
        assert [array.shape for array in result] == [
            (len(box), 4),
            (len(box), 3, 2),
            (len(box), 3),
            (len(box), 3, 2, 2),
        ]
        for other in (predictor(str(path), box), alone(pixels, box)):
            for one, two in zip(result, other, strict=True):
                np.testing.assert_allclose(one, two, atol=2e-3)
    # 18 crops: one batch of 16, one of 8; single images in batches of 8. On one device 1, 2, 3.
    assert predictor.buckets == [8, 16] and alone.buckets == [1, 2, 3]
    assert predictor._jitted._cache_size() <= 2 and alone._jitted._cache_size() <= 3
    np.testing.assert_array_equal(
        predictor(np.stack([PIXELS, PIXELS]), [BOX, BOX])[1].landmarks, predictor(PIXELS, BOX).landmarks
    )


def test_the_whole_image_is_the_whole_crop(predictor):
    for pixels, centers in ((PIXELS, CENTERS), (PIXELS.transpose(1, 0, 2), CENTERS[:, ::-1])):
        prediction = predictor(pixels)
        # A crop pixel is 3 image pixels: cells are coarse.
        np.testing.assert_allclose(prediction.landmarks[0], centers, atol=0.3)
        height, width = pixels.shape[:2]
        matrix = geometry.crop_matrix(whole_box(pixels, 1.25), shape=(64, 64))
        edges = geometry.transform_points(matrix, np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))
        np.testing.assert_allclose(edges[:, np.argmax([width, height])], [-0.5, 63.5], atol=1e-9)
    assert np.isfinite(predictor(PIXELS[:1, :1]).landmarks).all()


@pytest.mark.parametrize("flip", ["coordinates", "heatmaps"])
def test_flipping_finds_the_same_points(predictor, flip):
    flipping = Predictor(dots.network(flip=flip), dots.VARIABLES, max_batch=8)
    turned = PIXELS.copy()
    # A long, slanted red dot has a covariance between x and y.
    y, x = np.mgrid[:160, :200]
    along, across = (x - 80) + (y - 60), (x - 80) - (y - 60)
    turned[..., 0] = (255 * np.exp(-(along**2) / 500 - across**2 / 60)).round()
    plain, flipped = (p(turned, BOX) for p in (predictor, flipping))
    np.testing.assert_allclose(flipped.landmarks, plain.landmarks, atol=0.05)
    assert plain.covariance[0, 0, 0, 1] > 20
    np.testing.assert_allclose(flipped.covariance, plain.covariance, rtol=0.1, atol=3)


def test_the_average_of_two_maps_spreads_as_their_mixture():
    """Noise, in which the mirrored crop says something else."""
    scheme = LandmarkScheme("pair", 3, (1, 0, 2), (("pair", (0, 1)),))
    crops = np.random.default_rng(0).integers(0, 256, (2, *dots.SHAPE, 3), np.uint8)
    plain, average = (
        Predictor(dots.network(scheme=scheme, flip=flip, k=9), dots.VARIABLES) for flip in ("", "coordinates")
    )
    straight, turned = (jax.jit(plain.network.decode)(dots.VARIABLES, images) for images in (crops, crops[:, :, ::-1]))
    turned_covariance = np.array(turned.covariance, np.float64)[:, [1, 0, 2]]
    turned_covariance[..., 0, 1] *= -1
    turned_covariance[..., 1, 0] *= -1
    parts = [
        (np.float64(straight.coordinates), np.float64(straight.covariance)),
        (np.array([63, 0]) - np.float64(turned.coordinates)[:, [1, 0, 2]] * [1, -1], turned_covariance),
    ]
    assert np.linalg.norm(parts[0][0] - parts[1][0], axis=-1).max() > 10
    mean = sum(mean for mean, _ in parts) / 2
    second_moment = sum(covariance + mean[..., :, None] * mean[..., None, :] for mean, covariance in parts) / 2
    found = jax.jit(average.network.decode)(dots.VARIABLES, crops)
    np.testing.assert_allclose(found.coordinates, mean, atol=1e-3)
    np.testing.assert_allclose(
        found.covariance, second_moment - mean[..., :, None] * mean[..., None, :], rtol=1e-3, atol=0.01
    )


def test_a_network_is_traced_when_it_is_made_and_not_again(monkeypatch):
    traced = []
    run = Network.logit_maps
    monkeypatch.setattr(Network, "logit_maps", lambda *arguments: traced.append(0) or run(*arguments))
    one = Predictor(dots.network(), dots.VARIABLES, max_batch=1, devices=jax.devices()[:1])
    assert len(traced) == 1 and one._jitted._cache_size() == 0
    one(PIXELS, BOX)
    assert len(traced) == 1 and one._jitted._cache_size() == 1


def test_a_network_that_cannot_be_run_as_asked():
    for changes, message in (
        ({"k": 1000}, "k=1000 cells cannot be chosen from a map of 16x16"),
        ({"k": 6, "selection": "neighbours"}, "k=6 is no neighbourhood of 2 axes"),
        ({"k": "nine"}, "k is 'nine'; want a whole number of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Predictor(dots.network(**changes), dots.VARIABLES)


def test_a_crop_that_fails():
    """By PIL's limit of pixels, which is no ValueError."""
    with pytest.raises(
        ValueError, match=r"image 0: box .* could not be cropped \(DecompressionBombError: .* exceeds limit"
    ):
        Predictor(dots.network(crop="reference"), dots.VARIABLES)(PIXELS, [-1e5, -1e5, 1e5, 1e5])


def test_what_cannot_be_predicted(predictor, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(PIXELS).save(path)
    for box, message in {
        (300, 40, 380, 90): r"photo.png: box \[300.0, .*\] lies outside the image of 200x160 pixels",
        (10, 10, 9, 40): "photo.png: box .* has no size",
        (10, 10, np.nan, 40): "photo.png: box .* has no size",
        (10, 10, 40): r"photo.png: boxes of shape \[3\]; want \[4\] or \[n, 4\]",
    }.items():
        with pytest.raises(ValueError, match=message):
            predictor(path, box)
    with pytest.raises(ValueError, match="2 images, but boxes for 1"):
        predictor([PIXELS, PIXELS], [BOX])
    with pytest.raises(ValueError, match="image 1 is float64"):
        predictor([PIXELS, PIXELS * 1.0])
    # In a stream the others go on.
    results = [result for _, result in predictor.stream([(PIXELS, BOX), (tmp_path / "no.png", BOX), (PIXELS, None)])]
    assert [isinstance(result, ValueError) for result in results] == [False, True, False]


def test_few_images_are_held_where_boxes_are_rare(predictor):
    """One box in a hundred images: what is read and not yet given back stays bounded, and comes in order."""
    count, read = 300, 0

    def items():
        nonlocal read
        for index in range(count):
            read += 1
            yield PIXELS, BOX if index % 100 == 0 else np.zeros((0, 4))

    held = []
    for given, (_, result) in enumerate(predictor.stream(items())):
        held.append(read - given)
        assert len(result.boxes) == (given % 100 == 0)
    assert len(held) == count
    assert max(held) <= MOST_WAITING * predictor.max_batch + MOST_READERS + 1


def test_few_large_images_are_held(predictor, monkeypatch):
    """A box that waits for others goes alone when the pixels that wait with it reach the bound."""
    monkeypatch.setattr(predictors, "MOST_BYTES", 3 * PIXELS.nbytes)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # one reader
    read = []
    items = ((read.append(index) or PIXELS.copy(), BOX) for index in range(12))
    held = [len(read) - given for given, _ in enumerate(predictor.stream(items))]
    assert len(held) == 12 and max(held) <= 3 + 2


def test_agrees_with_evaluation(predictor, tmp_path):
    """The same boxes of the same files through the input pipeline and the evaluation step."""
    pytest.importorskip("tensorflow")
    from data.pipeline import EvalInput
    from data.prepare import prepare
    from data.source import Source
    from h3r_jax.evaluation.evaluator import Evaluator
    from h3r_jax.evaluation.protocols import Protocol
    from tests.data.made_up import write_split

    rng = np.random.default_rng(4)
    images, landmarks = [], []
    for size in ((90, 130), (300, 240), (700, 900)):
        # Three points in an upright triangle around the middle; the last picture's lie at its border.
        points = (
            np.array([[0.3, 0.35], [0.7, 0.4], [0.5, 0.75]])
            + rng.uniform(-0.03, 0.03, (3, 2))
            - 0.28 * (size[0] == 700)
        )
        landmarks.append(points * size[::-1])
        images.append(dots.picture(size, landmarks[-1], size[0] / 30))
    write_split(tmp_path / "set", "val", images, landmarks)
    arguments = {"data_dir": tmp_path, "prepared_dir": tmp_path / "prepared", "folder": "set", "num_landmarks": 3}
    source = Source(prepare("csv", **arguments), "val")
    annotations = source.annotations()
    split = EvalInput(
        source, annotations, shape=dots.SHAPE, box="landmarks", box_scale=1.25, crop="exact", cache_bytes=2**20
    )
    evaluator = Evaluator(predictor.network, Protocol(dots.SCHEME), split, sharding.make_mesh(), batch_size=8)
    expected = evaluator(dots.VARIABLES)

    paths = [tmp_path / "set" / "val" / f"{i}.png" for i in range(3)]
    found = predictor(paths, list(annotations.boxes("landmarks")))
    landmarks, confidence = (np.concatenate([result[i] for result in found]) for i in (1, 2))
    np.testing.assert_allclose(landmarks, expected.landmarks[""], atol=0.05)
    np.testing.assert_allclose(confidence, expected.confidence, atol=0.01)  # the crops are not the same to the last bit
    assert 1 / split.matrices[2, 0, 0] > 5  # the last one is shrunk


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    ("changes", "max_batch", "message"),
    [
        ({}, 0, "max_batch=0 must be positive"),
        ({}, -3, "max_batch=-3 must be positive"),
        ({}, 2.5, "max_batch=2.5 must be positive, a whole number"),
        ({}, "8", "max_batch='8' must be positive"),
        ({}, None, "max_batch=None must be positive"),
        ({"crop": ["exact"]}, 16, "unknown crop \\['exact'\\]; known are"),
        ({"logits": {}}, 16, "unknown logits {}; known are"),
        ({"k": 0}, 16, "k is 0; want a whole number of at least 1"),
        ({"k": -1}, 16, "k is -1; want a whole number of at least 1"),
        ({"box_scale": float("nan")}, 16, "box_scale is nan; want a finite number above 0"),
    ],
)
def test_numbers_out_of_range_are_one_sentence(changes, max_batch, message):
    with pytest.raises(UserError, match=message):
        Predictor(dots.network(**changes), dots.VARIABLES, max_batch=max_batch)


@pytest.mark.trial("D")
def test_no_devices_are_refused():
    with pytest.raises(UserError, match="devices is empty; want at least one"):
        Predictor(dots.network(), dots.VARIABLES, devices=[])


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    "boxes", ["whole", ["a"] * 4, [[1, 2, 3, 4], [1, 2]], {"x0": 1}, np.ones(4, complex), np.ones(4, bool)], ids=str
)
def test_boxes_that_are_no_numbers_are_named(predictor, boxes):
    pixels = np.zeros((40, 40, 3), np.uint8)
    for given in (boxes, lambda _: boxes):
        ((_, error),) = predictor.stream([(pixels, given)])
        assert str(error).startswith("image 0: boxes that are no numbers (")
