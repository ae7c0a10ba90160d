"""The reference's crop, and a network of others through it on real images."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from h3r_jax import codec, convert, geometry, images, models, reference_crop
from h3r_jax.errors import UserError

SIZE = 256


def test_pixels_and_matrix_on_whole_numbers():
    """A box of 7 x 3 pixels at scale 16/7: pixel for pixel the image itself, and half a pixel off."""
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    box = (10, 20, 16, 22)
    crop, matrix = reference_crop.cut(image, box, (16, 16), 16 / 7), reference_crop.matrix(box, (16, 16), 16 / 7)
    # Centre (13, 21), side 16: the corner is at 13 - 8 + 1/2 and 21 - 8 + 1/2, the rectangle at its even neighbours.
    np.testing.assert_allclose(matrix, [[1, 0, -5.5], [0, 1, -13.5]])
    np.testing.assert_array_equal(crop, image[14:30, 6:22])


def test_beyond_the_image_is_black_and_the_matrix_keeps_fractions():
    image = np.full((20, 30, 3), 200, np.uint8)
    box = (-4.3, -4.3, 5.7, 5.7)
    crop, matrix = reference_crop.cut(image, box, (64, 64)), reference_crop.matrix(box, (64, 64))
    side = 1.25 * 11
    corner = (-4.3 + 5.7 - side + 1) / 2
    np.testing.assert_allclose(geometry.transform_points(matrix, np.array([[corner, corner], [corner + side, 0]])),
                               [[0, 0], [64, -corner * 64 / side]], atol=1e-9)  # fmt: skip
    assert crop.shape == (64, 64, 3) and crop.dtype == np.uint8
    assert (crop[:20, :20] == 0).all() and (crop[40:, 40:] == 200).all()


def test_shrinking_is_antialiased():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 254
    crop = reference_crop.cut(stripes, (64, 64, 191, 191), (32, 32))
    assert np.abs(crop[4:-4, 4:-4].astype(int) - 127).max() <= 10


@pytest.mark.parametrize("box", [(5, 5, 4, 9), (0, 0, np.nan, 9)])
def test_box_without_a_size(box):
    with pytest.raises(ValueError, match="want finite x0 <= x1"):
        reference_crop.cut(np.zeros((9, 9, 3), np.uint8), box, (8, 8))
    with pytest.raises(ValueError, match="want finite x0 <= x1"):
        reference_crop.matrix(np.array([[0, 0, 5, 5], box]), (8, 8))


def test_shapes_and_boxes_that_it_cannot_have():
    pixels, box = np.zeros((9, 9, 3), np.uint8), (1, 1, 5, 5)
    for name, arguments in (("matrix", (box,)), ("cut", (images.lazy(pixels), box))):
        with pytest.raises(
            UserError, match='the crop "reference" is square, but the input is 16x8; want the crop "exact"'
        ):
            getattr(images.CROPS["reference"], name)(*arguments, (16, 8), 1.25)
        assert getattr(images.CROPS["exact"], name)(*arguments, (16, 8), 1.25).shape in ((2, 3), (16, 8, 3))
    with pytest.raises(UserError, match=r"box \[-100000.0, .* could not be cropped .* exceeds limit"):
        reference_crop.cut(pixels, [-1e5, -1e5, 1e5, 1e5], (8, 8))


def own_crop(path, box):
    matrix = geometry.crop_matrix(box, shape=(SIZE, SIZE))
    return images.crop_image(path, matrix, (SIZE, SIZE)), matrix


@pytest.fixture(scope="module")
def lapa(shared_data):
    """image name -> crop -> (head output, crop matrix, landmarks), of the checkpoint in the shared data."""
    pytest.importorskip("torch")
    variables, spec, _ = convert.read(
        shared_data / "checkpoints" / "lapa106_mobilenetv2_256x256.pth.tar", landmarks=106
    )
    model = models.build(spec.model, spec.landmarks, head=spec.head)
    apply = jax.jit(functools.partial(model.apply, variables))
    results = {}
    for path in sorted((shared_data / "lapa" / "test" / "landmarks").glob("*.txt")):
        landmarks = np.loadtxt(path, skiprows=1)
        box = geometry.landmark_box(landmarks)
        image = path.parents[1] / "images" / f"{path.stem}.jpg"
        pixels = np.asarray(Image.open(image).convert("RGB"))
        crops = {
            "reference": (reference_crop.cut(pixels, box, (SIZE, SIZE)), reference_crop.matrix(box, (SIZE, SIZE))),
            "own": own_crop(image, box),
        }
        for crop, (pixels, matrix) in crops.items():
            output = np.asarray(apply(models.normalize_images(pixels[None])))
            results.setdefault(path.stem, {})[crop] = output, matrix, landmarks
    return results


def error(output, matrix, landmarks, **options):
    """NME in percent of the distance 66 to 79, of a decoder."""
    predicted = np.asarray(codec.decode(output, **options), np.float64)[0]
    predicted = geometry.transform_points(geometry.invert(matrix), predicted)
    distances = np.linalg.norm(predicted - landmarks, axis=-1)
    return 100 * distances.mean() / np.linalg.norm(landmarks[66] - landmarks[79])


@pytest.mark.parametrize(
    "crop, image, k, expected, tolerance",
    [
        # What the reference's PyTorch code gives for these weights.
        ("reference", "10773046825_0", 9, 0.93, 0.05),
        ("reference", "13609937564_5", 9, 2.51, 0.05),
        ("reference", "10773046825_0", 1, 1.66, 0.1),
        ("reference", "13609937564_5", 1, 3.00, 0.1),
        # Our own crop, as measured.
        ("own", "10773046825_0", 9, 0.96, 0.05),
        ("own", "13609937564_5", 9, 2.35, 0.05),
    ],
)
def test_the_third_party_checkpoint_on_real_images(lapa, crop, image, k, expected, tolerance):
    output, matrix, landmarks = lapa[image][crop]
    on = output[..., len(landmarks) :]
    assert error(on, matrix, landmarks, k=k) == pytest.approx(expected, abs=tolerance)


def test_the_off_maps_of_the_third_party_checkpoint_say_nothing(lapa):
    """It was trained on the "on" maps alone, so the exact decoder of a two-channel loss is not its decoder."""
    for image, expected in (("10773046825_0", 1.00), ("13609937564_5", 2.52)):
        output, matrix, landmarks = lapa[image]["reference"]
        off, on = np.split(output, 2, axis=-1)
        assert off.std() < 1e-2 * on.std()
        logits = codec.binary_logits(output)
        assert error(logits, matrix, landmarks, activation="sigmoid") == pytest.approx(expected, abs=0.05)
