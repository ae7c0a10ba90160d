"""Images and points move together, from the files of a data set to the crops of training and evaluation."""

import functools
import types

import jax
import numpy as np
import pytest
from PIL import Image

import data.prepare
from data.pipeline import EvalInput, TrainInput
from data.source import Source
from h3r_jax import augment, images
from h3r_jax.inference import make_network
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.training import step
from tests.data.made_up import fit_affine, inside, source_positions, texture, warp, write_split

SCHEME = LandmarkScheme("four", 4, (1, 0, 2, 3), (("pair", (0, 1)),))
WEIGHT = (1.0, 0.5, 0.25, 2.0)  # told apart, so that a mix-up shows
AUGMENTATION = augment.Augmentation(rotation=30.0, scale=0.25, shift=0.05, mirror=0.5)
DRAWS = 6
# Height and width of images, and boxes in them: much to shrink, about the network's size, much to enlarge, beyond two
# borders by a third, beyond one.
PLACES = (
    ((900, 1000), (120, 60, 900, 840)),
    ((275, 227), (60, 80, 170, 200)),
    ((60, 64), (16, 14, 46, 45)),
    ((200, 180), (-40, 60, 90, 215)),
    ((300, 400), (250, 90, 420, 250)),
)


def corners(box, extra):
    """Four landmarks: three corners of a box, and a point in it."""
    x0, y0, x1, y1 = box
    return [[x0, y0], [x1, y0], [x0, y1], extra]


def dot(size, center, sigma):
    """A Gaussian dot on black, `uint8[H, W, 3]`."""
    y, x = np.mgrid[: size[0], : size[1]]
    spot = 255 * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * sigma**2))
    return np.repeat(spot.round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image):
    """The centre of intensity (x, y) of `[H, W, 3]`."""
    grey = np.asarray(image, np.float64).sum(axis=-1)
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    return np.array([(grey * x).sum(), (grey * y).sum()]) / grey.sum()


@functools.cache  # tests of one shape share what is compiled
def augmenter(shape, augmentation):
    """The device's part of training, for batches of `len(PLACES)`."""
    network = types.SimpleNamespace(shape=shape, scheme=SCHEME)
    recipe = types.SimpleNamespace(seed=5, augmentation=augmentation, network=network)
    return jax.jit(functools.partial(step.augment_batch, recipe=recipe))


class Images:
    """A folder of images with four landmarks each, a multiple of `len(PLACES)`, prepared once for all shapes."""

    def __init__(self, folder, images, landmarks):
        self.images, self.landmarks = images, np.asarray(landmarks, np.float64)
        write_split(folder / "set", "train", images, landmarks, [WEIGHT] * len(images))
        arguments = {"data_dir": folder, "prepared_dir": folder / "prepared", "folder": "set", "num_landmarks": 4}
        self.source = Source(data.prepare.prepare("csv", **arguments), "train")
        self.annotations = self.source.annotations()


class Path:
    """Both input paths of Images, and what they deliver."""

    def __init__(self, prepared, shape, augmentation=AUGMENTATION):
        self.images, self.landmarks, self.shape = prepared.images, prepared.landmarks, shape
        crop = {"shape": shape, "box": "landmarks", "box_scale": 1.25, "cache_bytes": 2**30}
        self.train = TrainInput(prepared.source, prepared.annotations, augmentation=augmentation, **crop)
        self.eval = EvalInput(prepared.source, prepared.annotations, crop="exact", **crop)
        self.augment = augmenter(shape, augmentation)

    def training(self, draws=DRAWS):
        """Every image `draws` times: its index, the crop, its landmarks and weight."""
        batches = self.train.batches(seed=1, batch_size=len(PLACES), start_step=0)
        for number, batch in zip(range(draws * len(self.images) // len(PLACES)), batches):
            images, landmarks, weight = map(np.asarray, self.augment(batch, number))
            yield from zip(batch["index"], images, landmarks.astype(np.float64), weight)

    def evaluation(self):
        """Every image once: its index, and the crop."""
        (batch,) = self.eval.batches(len(self.images))
        return enumerate(batch["image"])


def placement(original, delivered):
    """The map that took landmarks `[4, 2]` to those delivered, `[2, 3]`, and whether it mirrors; one order must fit."""
    fits = {}
    for mirrored, order in ((False, (0, 1, 2, 3)), (True, SCHEME.mirror)):
        source = original[list(order)]
        matrix = fit_affine(source, delivered)
        error = np.abs(source @ matrix[:, :2].T + matrix[:, 2] - delivered).max()
        if error < 2e-3 and (np.linalg.det(matrix[:, :2]) < 0) == mirrored:
            fits[mirrored] = matrix
    assert len(fits) == 1, "landmarks do not move as the picture does"
    return next((matrix, mirrored) for mirrored, matrix in fits.items())


@pytest.fixture(scope="module")
def textures(tmp_path_factory):
    images = [texture(seed, *size) for seed, (size, _) in enumerate(PLACES)]
    landmarks = [corners(box, (np.add(box[:2], box[2:]) / 2 + 3.3)) for _, box in PLACES]
    return Path(Images(tmp_path_factory.mktemp("textures"), images, landmarks), (128, 128))


@pytest.fixture(scope="module")
def white(tmp_path_factory):
    images = [np.full((*size, 3), 255, np.uint8) for size, _ in PLACES]
    landmarks = [corners(box, np.add(box[:2], box[2:]) / 2) for _, box in PLACES]
    return Images(tmp_path_factory.mktemp("white"), images, landmarks)


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    """Ten images with a dot at the last landmark."""
    rng = np.random.default_rng(0)
    images, landmarks = [], []
    for size, box in PLACES * 2:
        side = max(box[2] - box[0], box[3] - box[1])
        sigma = max(1.5, 2.5 * side / 128)
        low, high = np.maximum(box[:2], 4 * sigma), np.minimum(box[2:], np.subtract(size[::-1], 4 * sigma))
        center = rng.uniform(*np.sort([0.6 * low + 0.4 * high, 0.4 * low + 0.6 * high], axis=0))
        images.append(dot(size, center, sigma))
        landmarks.append(corners(box, center))
    return Images(tmp_path_factory.mktemp("dots"), images, landmarks)


def test_training_crops_are_a_one_step_antialiased_warp_of_the_original(textures):
    differences = {index: [] for index in range(len(PLACES))}
    for index, image, landmarks, _ in textures.training():
        matrix, _ = placement(textures.landmarks[index], landmarks)
        differences[index].append(np.abs(image - warp(textures.images[index], matrix, textures.shape)).mean())
    means = {index: np.mean(values) for index, values in differences.items()}
    print("mean difference of training crops, of 255:", {index: round(value, 2) for index, value in means.items()})
    assert max(means.values()) < 2, means


def test_evaluation_crops_are_a_one_step_antialiased_warp_of_the_original(textures):
    for index, image in textures.evaluation():
        expected = warp(textures.images[index], textures.eval.matrices[index], textures.shape)
        difference = np.abs(image.astype(np.float64) - expected)
        # Rounding to whole grey levels after each axis makes 0.33 on average, 1 at most.
        assert difference.mean() < 0.35, (index, difference.mean())
        assert np.quantile(difference, 0.99) < 1.01, index


def test_evaluation_and_prediction_see_the_same_pixels(tmp_path):
    """For each kind of file that both read; the first is decoded at a quarter of its size."""
    large, small = Image.fromarray(texture(0, 901, 1203)), Image.fromarray(texture(1, 90, 110))
    deep = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
    kinds = {
        "large.jpg": large, "grey.jpg": large.convert("L"), "ink.jpg": large.convert("CMYK"), "large.png": large,
        "a.jpg": small, "a.png": small, "grey.png": small.convert("L"), "palette.png": small.quantize(40),
        "deep.png": deep, "alpha.png": small.convert("RGBA"), "a.webp": small, "a.bmp": small, "a.tif": small,
    }  # fmt: skip
    (tmp_path / "set" / "train").mkdir(parents=True)
    rows = ["image,x0,y0,x1,y1"]
    for name, image in kinds.items():
        image.save(tmp_path / "set" / "train" / name)
        rows.append(f"{name},{0.2 * image.width},{0.1 * image.height},{1.1 * image.width},{0.8 * image.height}")
    (tmp_path / "set" / "train.csv").write_text("\n".join(rows) + "\n")
    arguments = {"data_dir": tmp_path, "prepared_dir": tmp_path / "prepared", "folder": "set", "num_landmarks": 2}
    source = Source(data.prepare.prepare("csv", **arguments), "train")
    annotations, pair = source.annotations(), LandmarkScheme("pair", 2, (1, 0), (("pair", (0, 1)),))
    for crop in images.CROPS:
        network = make_network("mobilenet_v2", pair, input_size=160, crop=crop)
        inputs = {"shape": network.shape, "box": "landmarks", "box_scale": network.box_scale, "cache_bytes": 0}
        (batch,) = EvalInput(source, annotations, crop=crop, **inputs).batches(len(kinds))
        for name, box, crop in zip(kinds, annotations.boxes("landmarks"), batch["image"], strict=True):
            np.testing.assert_array_equal(network.cut(tmp_path / "set" / "train" / name, box)[0], crop, name)


def test_real_faces_arrive_as_a_one_step_warp(tmp_path, shared_data):
    lines = (shared_data / "ytfaces68" / "train.csv").read_text().splitlines()[1::220][: 2 * len(PLACES)]
    images, landmarks = [], []
    for line in lines:
        name, *values = line.split(",")
        points = np.array(values, np.float64).reshape(-1, 2)
        images.append(np.asarray(Image.open(shared_data / "ytfaces68" / "train" / name).convert("RGB")))
        landmarks.append(corners([*points.min(axis=0), *points.max(axis=0)], points[30]))
    path = Path(Images(tmp_path, images, landmarks), (128, 128))
    differences = []
    for index, image, delivered, _ in path.training(draws=3):
        matrix, _ = placement(path.landmarks[index], delivered)
        differences.append(np.abs(image - warp(images[index], matrix, path.shape)).mean())
    print(
        f"mean difference of real training crops: {np.mean(differences):.2f}, at most {np.max(differences):.2f} of 255"
    )
    assert np.mean(differences) < 1


def test_maps_and_landmarks_of_training_stay_within_the_ranges_and_use_them(textures):
    angles, zooms, moves, mirrors = [], [], [], []
    center = (np.array(textures.shape[::-1]) - 1) / 2
    for index, _, landmarks, weight in textures.training(draws=20):
        matrix, mirrored = placement(textures.landmarks[index], landmarks)
        assert weight.tolist() == [WEIGHT[i] for i in (SCHEME.mirror if mirrored else range(4))]
        crop = textures.train.matrices[index]
        if mirrored:
            matrix = np.array([[-1, 0, textures.shape[1] - 1], [0, 1, 0]]) @ np.vstack([matrix, [0, 0, 1]])
        change = np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(np.vstack([crop, [0, 0, 1]]))
        zooms.append(np.sqrt(np.linalg.det(change[:2, :2])))
        angles.append(np.degrees(np.arctan2(change[1, 0], change[0, 0])))
        moves.append((np.linalg.inv(change) @ [*center, 1])[:2] - center)  # where the new centre was
        mirrors.append(mirrored)
    assert np.abs(angles).max() <= 30.01 and min(angles) < -20 and max(angles) > 20
    assert 1 / 1.251 < min(zooms) < 0.85 and 1.18 < max(zooms) < 1.251
    limit = 0.05 * np.array(textures.shape[::-1])
    assert (np.abs(moves) <= limit + 0.01).all() and (np.ptp(moves, axis=0) > 1.5 * limit).all()
    assert 0.35 < np.mean(mirrors) < 0.65


@pytest.mark.parametrize(
    ("augmentation", "shape"),
    [
        (AUGMENTATION, (128, 128)),
        (augment.Augmentation(rotation=20.0), (64, 64)),  # the canvas has no room to spare from scale or shift
        (augment.Augmentation(rotation=180.0, scale=0.6, shift=0.2, mirror=0.5), (96, 64)),
    ],
    ids=["usual", "rotation", "far"],
)
def test_no_black_where_the_source_had_pixels(white, augmentation, shape):
    path = Path(white, shape, augmentation)

    def check(image, matrix, size):
        pixel = 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))  # image pixels per pixel of the crop
        x, y = source_positions(matrix, shape)
        assert image[inside(x, y, size, margin=1.5 * pixel - 0.5)].min() >= 254
        beyond = image[~inside(x, y, size, margin=-1.5 * pixel - 0.5)]
        assert beyond.max(initial=0) <= 1

    for index, image, delivered, _ in path.training():
        check(image, placement(path.landmarks[index], delivered)[0], path.images[index].shape)
    for index, image in path.evaluation():
        check(image, path.eval.matrices[index], path.images[index].shape)


@pytest.mark.parametrize("shape", [(128, 128), (96, 72), (256, 192), (256, 256), (384, 288)], ids=str)
def test_a_dot_arrives_where_its_landmark_does(dots, shape):
    path = Path(dots, shape)
    errors = {"training": [], "evaluation": []}
    mirrors = 0
    for index, image, delivered, _ in path.training(draws=8):
        mirrors += placement(path.landmarks[index], delivered)[1]
        errors["training"].append(centroid(image) - delivered[3])
    for index, image in path.evaluation():
        matrix = path.eval.matrices[index]
        errors["evaluation"].append(centroid(image) - (matrix[:, :2] @ path.landmarks[index, 3] + matrix[:, 2]))
    assert 20 < mirrors < 60  # of 80
    for name, values in errors.items():
        distance = np.linalg.norm(values, axis=1)
        print(f"dots, {name} at {shape}: {distance.mean():.4f} px on average, {distance.max():.4f} px at most")
        assert distance.max() < 0.05, name
        assert np.abs(np.mean(values, axis=0)).max() < 0.01, name  # and no common shift
