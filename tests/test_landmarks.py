"""Landmark schemes: their mirror orders as published and against real shapes, and mistakes that a scheme refuses."""

import itertools
import re

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from data import aflw, coco_keypoints, cofw, lapa, mpii, w300, wflw
from h3r_jax.landmarks import PHANTOM23, SCHEMES, LandmarkScheme, get_scheme
from h3r_jax.landmarks.scheme import UNITS

# Written out, as the reference, HRNet and mmpose have them; the first 55 are common to WFLW and LaPa.
CONTOUR_BROWS_AND_NOSE = (
    *range(32, -1, -1), 46, 45, 44, 43, 42, 50, 49, 48, 47, 37, 36, 35, 34, 33, 41, 40, 39, 38, 51, 52, 53, 54,
)  # fmt: skip
PUBLISHED = {
    "wflw98": (
        *CONTOUR_BROWS_AND_NOSE, 59, 58, 57, 56, 55,
        72, 71, 70, 69, 68, 75, 74, 73, 64, 63, 62, 61, 60, 67, 66, 65,
        82, 81, 80, 79, 78, 77, 76, 87, 86, 85, 84, 83, 92, 91, 90, 89, 88, 95, 94, 93, 97, 96,
    ),
    "ibug68": (
        *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
    ),
    "cofw29": (
        1, 0, 3, 2, 6, 7, 4, 5, 9, 8, 11, 10, 14, 15, 12, 13, 17, 16, 19, 18, 20, 21, 23, 22, 24, 25, 26, 27, 28,
    ),
    "aflw19": (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 14, 13, 12, 17, 16, 15, 18),
    "lapa106": (
        *CONTOUR_BROWS_AND_NOSE, 65, 64, 63, 62, 61, 60, 59, 58, 57, 56, 55,
        79, 78, 77, 76, 75, 82, 81, 80, 83, 70, 69, 68, 67, 66, 73, 72, 71, 74,
        90, 89, 88, 87, 86, 85, 84, 95, 94, 93, 92, 91, 100, 99, 98, 97, 96, 103, 102, 101, 105, 104,
    ),
    "mpii16": (5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10),
    "coco17": (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15),
}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_every_scheme_is_consistent(scheme):
    assert get_scheme(scheme.name) is scheme
    mirror = np.array(scheme.mirror)
    assert len(mirror) == scheme.num_landmarks
    np.testing.assert_array_equal(mirror[mirror], np.arange(scheme.num_landmarks))
    for name, unit in scheme.normalizers:
        assert scheme.normalizer(name) == unit
        if unit not in UNITS:
            first, second = map(np.atleast_1d, unit)
            assert set(mirror[first]) == set(second), "the normalising landmarks are left-right pairs"
    assert scheme.normalizer() == scheme.normalizers[0][1]
    for i, name in enumerate(scheme.names):
        partner = scheme.names[mirror[i]]
        swapped = re.sub("right|left", lambda found: {"right": "left", "left": "right"}[found[0]], name)
        if mirror[i] == i:
            assert swapped == name
        else:  # numbers may differ, sides may not
            assert re.sub(r"_\d+$", "", partner) == re.sub(r"_\d+$", "", swapped)
    lines = {frozenset(pair) for pair in scheme.connections}
    assert lines == {frozenset((int(mirror[a]), int(mirror[b]))) for a, b in scheme.connections}


@pytest.mark.parametrize("name", sorted(set(SCHEMES) - {"phantom23"}))
def test_mirror_orders_are_the_published_ones(name):
    assert get_scheme(name).mirror == PUBLISHED[name]


def test_normalising_landmarks_are_the_published_ones():
    units = {name: get_scheme(name).normalizer() for name in ("wflw98", "ibug68", "cofw29", "lapa106")}
    assert units == {"wflw98": (60, 72), "ibug68": (36, 45), "cofw29": (8, 9), "lapa106": (66, 79)}


def test_sigmas_are_those_that_coco_evaluates_with():
    sigmas = COCOeval(iouType="keypoints").params.kpt_oks_sigmas
    np.testing.assert_allclose(get_scheme("coco17").sigmas, sigmas, rtol=1e-12)


def test_phantom_scheme_numbers_its_names():
    paths = (
        "right_temple right_jaw chin left_jaw left_temple", "right_brow_outer right_brow_inner",
        "left_brow_inner left_brow_outer", "right_eye_outer right_pupil right_eye_inner",
        "left_eye_inner left_pupil left_eye_outer", "nose_bridge nose_tip",
        "right_nose_wing nose_tip left_nose_wing",
        "right_mouth_corner upper_lip left_mouth_corner lower_lip right_mouth_corner",
    )  # fmt: skip
    number = PHANTOM23.names.index
    lines = [list(map(number, path.split())) for path in paths]
    assert PHANTOM23.connections == tuple(pair for line in lines for pair in itertools.pairwise(line))
    assert PHANTOM23.normalizer() == (number("right_eye_outer"), number("left_eye_outer"))
    assert PHANTOM23.mirror[number("right_eye_outer")] == number("left_eye_outer")


# scheme -> builder, folder, and pairs of landmarks that its few people here cannot tell apart
REAL = {
    "wflw98": (wflw.Wflw, "wflw", ()),
    "ibug68": (w300.W300, "300w", ()),
    "cofw29": (cofw.Cofw, "cofw", ()),
    "aflw19": (aflw.Aflw, "aflw", ()),
    "lapa106": (lapa.Lapa, "lapa", ((74, 104), (83, 105))),  # an eye's centre and its pupil are one point
    "mpii16": (mpii.Mpii, "mpii", ((10, 11), (14, 15))),  # five people with their arms anywhere: wrists and elbows
    "coco17": (coco_keypoints.CocoKeypoints, "coco", ()),
}


def fit(shape, target):
    """The shape `complex[K]` moved, turned and scaled, not mirrored, to be closest to the target; NaN: no label."""
    known = np.isfinite(shape) & np.isfinite(target)
    shape, goal = shape - shape[known].mean(), target[known] - target[known].mean()
    return shape * np.vdot(shape[known], goal) / np.vdot(shape[known], shape[known]) + target[known].mean()


def mean_shape(shapes):
    """The mean `complex[K]` of shapes `[N, K, 2]`, each moved, turned and scaled to it; of unit size."""
    shapes = shapes[..., 0] + 1j * shapes[..., 1]
    mean = shapes[np.isfinite(shapes).sum(axis=1).argmax()]
    for _ in range(10):
        mean = np.nanmean([fit(shape, mean) for shape in shapes], axis=0)
        mean = (mean - np.nanmean(mean)) / np.nanstd(mean)
    return mean


def distance(mean, order):
    """Root of the mean square distance between a shape and its mirror image, whose landmarks are in `order`."""
    return np.sqrt((np.abs(fit(-mean.conj()[order], mean) - mean) ** 2).mean())


@pytest.mark.parametrize("name", REAL)
def test_no_other_mirror_order_is_as_good_for_real_shapes(name, shared_data):
    """A mirrored shape, its landmarks exchanged, is like the shape, and under no other order more."""
    builder, folder, alike = REAL[name]
    records = itertools.chain(*builder.read_splits(shared_data / folder).values())
    shapes = np.array([record.landmarks for record in records if np.isfinite(record.landmarks).any()])
    _, different = np.unique(np.nan_to_num(shapes), axis=0, return_index=True)  # some splits here hold the same people
    mean = mean_shape(shapes[different])
    order = np.array(get_scheme(name).mirror)
    assert np.isfinite(mean).all() and distance(mean, order) < 0.3
    better = []
    for i, j in itertools.combinations(range(len(order)), 2):
        other = order.copy()
        other[[i, j]] = other[[j, i]]
        if distance(mean, other) <= distance(mean, order):
            better.append((i, j))
    assert tuple(better) == alike
    for i, j in enumerate(order):
        other = order.copy()
        other[[i, j]] = i, j  # this pair is not exchanged
        assert i == j or distance(mean, other) > distance(mean, order) + 0.001


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mirror": (1, 0)}, "permutation of 0 to 2"),
        ({"mirror": (1, 0, 0)}, "permutation of 0 to 2"),
        ({"mirror": (1, 0, 3)}, "permutation of 0 to 2"),
        ({"mirror": (1.0, 0.0, 2.0)}, "permutation of 0 to 2"),
        ({"mirror": (1, 2, 0)}, "twice must change nothing"),
        ({"normalizers": ()}, "has no normaliser; want two landmarks, or one of box"),
        *(
            ({"normalizers": (("unit", unit),)}, "neither one of box, .* nor a pair of landmarks below 3")
            for unit in ("pupils", (0, 3), (-1, 0), (0.5, 1), (0, 1, 2), (), None, ((0, 1), (3,)), ((0, 1), ()))
        ),
        ({"normalizers": (("unit", (1, 1)),)}, "to itself"),
        ({"normalizers": (0, 1)}, "pairs of a name and a unit"),
        ({"names": ("a", "b")}, "2 names for 3 landmarks"),
        ({"sigmas": (0.1,)}, "1 sigmas for 3 landmarks"),
        ({"connections": ((0, 1), (1, 3))}, r"\(1, 3\)"),
    ],
)
def test_bad_schemes_are_refused(fields, message):
    good = {"name": "mine", "num_landmarks": 3, "mirror": (1, 0, 2), "normalizers": (("pair", (0, 1)),)}
    LandmarkScheme(**good)
    with pytest.raises(ValueError, match=message) as error:
        LandmarkScheme(**(good | fields))
    assert "mine" in str(error.value)


def test_unknown_scheme_lists_the_known_ones():
    with pytest.raises(ValueError, match="'wlfw'.*wflw98, ibug68, cofw29"):
        get_scheme("wlfw")


def test_normalizing_distances():
    landmarks = np.array([[[0.0, 0.0], [3.0, 4.0], [12.0, 3.0]], [[1.0, 1.0], [1.0, 2.0], [9.0, 9.0]]])
    units = {
        "pair": (0, 1),
        "groups": ((0, 1), (2,)),
        "box": "box",
        "size": "object_size",
        "diagonal": "delivered_diagonal",
    }
    scheme = LandmarkScheme("mine", 3, (1, 0, 2), tuple(units.items()))
    np.testing.assert_allclose(scheme.normalizing_distance(landmarks), [5, 1])  # the first
    np.testing.assert_allclose(
        scheme.normalizing_distance(landmarks, normalizer="groups"), np.hypot([10.5, 8], [1, 7.5])
    )
    np.testing.assert_allclose(scheme.normalizing_distance(landmarks, normalizer="size", object_size=[7, 8]), [7, 8])
    box = [[0, 0, 3, 4], [1, 1, 6, 13]]
    np.testing.assert_allclose(scheme.normalizing_distance(landmarks, normalizer="diagonal", box=box), [5, 13])
    np.testing.assert_allclose(scheme.normalizing_distance(landmarks, normalizer="box"), [np.sqrt(12 * 4), 8])
    np.testing.assert_allclose(scheme.normalizing_distance(landmarks[0], normalizer="box"), np.sqrt(12 * 4))
    # A landmark without a label may have no coordinates: the box is that of the others.
    landmarks[:, 2] = np.nan
    weight = [[1, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(scheme.normalizing_distance(landmarks, weight, normalizer="box"), [np.sqrt(12), 0])
    np.testing.assert_allclose(scheme.normalizing_distance(landmarks, weight), [5, 1])
    with pytest.raises(ValueError, match="mine has no normaliser 'pupils'; it has pair, groups, box, size, diagonal"):
        scheme.normalizing_distance(landmarks, normalizer="pupils")
