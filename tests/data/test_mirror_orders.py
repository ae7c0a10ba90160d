"""Mirror orders against real shapes: a mirrored shape, its landmarks exchanged, is like the shape, and under no other order more."""

import itertools

import numpy as np
import pytest

from data import aflw, coco_keypoints, cofw, lapa, mpii, w300, wflw
from h3r_jax.landmarks import get_scheme

# scheme -> builder, folder, and pairs of landmarks that its few people here cannot tell apart
SETS = {
    "wflw98": (wflw.Wflw, "wflw", ()),
    "ibug68": (w300.W300, "300w", ()),
    "cofw29": (cofw.Cofw, "cofw", ()),
    "aflw19": (aflw.Aflw, "aflw", ()),
    "lapa106": (lapa.Lapa, "lapa", ((74, 104), (83, 105))),  # an eye's centre and its pupil are one point
    "mpii16": (mpii.Mpii, "mpii", ((10, 11), (14, 15))),  # five people with their arms anywhere: wrists and elbows
    "coco17": (coco_keypoints.CocoKeypoints, "coco", ()),
}


def fit(shape, target):
    """The shape `complex[K]` under the similarity, no mirroring, that brings it closest to the target; NaN where not labelled."""
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


@pytest.mark.parametrize("name", SETS)
def test_no_other_order_is_as_good(name, shared_data):
    builder, folder, alike = SETS[name]
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
