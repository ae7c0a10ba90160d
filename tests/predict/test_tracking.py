"""Faces in a film: followed, lost and found again, and smoothed."""

import numpy as np
import pytest

from h3r_jax import geometry
from h3r_jax.errors import UserError
from h3r_jax.predict import tracking
from tests.predict import dots

SIZE = (300, 400)
CENTERS = np.array([[60.0, 50.0], [160.0, 76.0], [97.0, 143.0]])


class Film:
    """Frames with dots at places `{frame: [centers, ...]}`, and a detector that counts its looks."""

    def __init__(self, *frames):
        self.truth, self.looks = frames, []
        self.frames = [
            np.max([dots.picture(SIZE, face, 3.5) for face in faces], axis=0)
            if faces
            else np.zeros((*SIZE, 3), np.uint8)
            for faces in frames
        ]

    def find(self, pixels):
        index = next(i for i, frame in enumerate(self.frames) if frame is pixels)
        self.looks.append(index)
        return geometry.landmark_box(np.reshape(self.truth[index], (-1, 3, 2)))

    def follow(self, **options):
        return list(tracking.follow(dots.predictor(), self.frames, self.find, **options))


def moved(frame, start=CENTERS):
    return start + [2.0 * frame, 1.0 * frame]


def test_a_face_is_found_once_and_followed():
    film = Film(*([moved(i)] for i in range(20)))
    seen = film.follow()
    assert film.looks == [0] and all(each.tracks.tolist() == [0] for each in seen)
    for index, each in enumerate(seen):
        np.testing.assert_allclose(
            each.prediction.landmarks[0], moved(index), atol=6
        )  # of a face of 100 pixels; dots at the border of a crop are cut


def test_faces_that_go_and_come(monkeypatch):
    """The first face goes in frame 3; a second one comes in frame 4, and a third one beside it in frame 6."""
    monkeypatch.setattr(tracking, "DETECT_EVERY", 4)
    other = CENTERS + [190, 120]
    film = Film([CENTERS], [CENTERS], [CENTERS], [], [other], [other], *(4 * [[other, CENTERS]]))
    seen = film.follow()
    assert [each.tracks.tolist() for each in seen] == [[0], [0], [0], [], [1], [1], [1], [1], [1, 2], [1, 2]]
    assert film.looks == [0, 3, 4, 8]
    np.testing.assert_allclose(seen[9].prediction.landmarks, [other, CENTERS], atol=4)


def test_a_face_that_leaves_the_image_is_lost_and_no_error():
    """The second frame is smaller, and its image ends before the face's box begins."""
    film = Film([CENTERS], [], [CENTERS])
    film.frames[1] = np.zeros((40, 50, 3), np.uint8)
    assert [each.tracks.tolist() for each in film.follow()] == [[0], [], [1]]
    assert film.looks == [0, 1, 2]


def test_two_tracks_of_one_face_become_one(monkeypatch):
    film = Film(*(5 * [[CENTERS]]))
    box = geometry.landmark_box(CENTERS)
    monkeypatch.setattr(film, "find", lambda pixels: np.array([box, box + 4]))
    assert [each.tracks.tolist() for each in film.follow()] == [[0, 1]] + 4 * [[0]]


def test_a_frame_that_cannot_be_looked_at_is_an_error_of_that_frame():
    film = Film(*(3 * [[CENTERS]]))

    def find(pixels):
        if pixels is film.frames[0]:
            raise UserError("not this one")
        return film.find(pixels)

    seen = list(tracking.follow(dots.predictor(), film.frames, find))
    assert str(seen[0].prediction) == "not this one" and not len(seen[0].tracks)
    assert [each.tracks.tolist() for each in seen[1:]] == [[0], [0]]


def test_smoothing_follows_a_straight_way_without_lag_and_takes_noise_away():
    rng = np.random.default_rng(0)
    truth = np.array([moved(i) for i in range(200)])
    found = truth + rng.normal(scale=1.0, size=truth.shape)
    for noise, expected in ((0.0, 0.0), (1.0, 0.55)):
        smoother = tracking.Smoother(0.001)
        landmarks = truth + noise * (found - truth)
        smoothed = np.array([smoother.update(each, np.tile(np.eye(2), (3, 1, 1))) for each in landmarks])
        apart = (smoothed - truth)[30:]
        assert np.sqrt((apart**2).mean()) < expected + 1e-3
        assert np.abs(apart.mean(axis=0)).max() < 0.15 * noise + 2e-3


def test_a_landmark_is_trusted_as_its_covariance_says():
    """After two frames at rest a jump is followed where the network is sure, in the direction in which it is sure."""
    still = np.array([[0.0, 0], [100, 0], [0, 100]])
    smoother = tracking.Smoother()
    covariance = np.array([np.diag([1e-4, 1e-4]), np.diag([1e-4, 1e4]), np.diag([1e4, 1e4])])
    for _ in range(10):
        smoother.update(still, covariance)
    share = smoother.update(still + 5, covariance) - still
    assert share[0].min() > 4.8 and share[1, 0] > 4.8
    assert share[1, 1] < 1.5 and share[2].max() < 1.5


def test_the_filter_is_that_of_the_textbook():
    """One landmark, one axis after the other, written out in scalars."""
    rng = np.random.default_rng(1)
    places, spread = rng.normal(size=(30, 2, 2)) * 20, rng.uniform(0.5, 3, (30, 2, 2))
    smoother = tracking.Smoother(0.03)
    for axis in (0, 1):
        x = v = pxx = pxv = pvv = None
        smoother = tracking.Smoother(0.03)
        for landmarks, variance in zip(places, spread):
            covariance = np.array([np.diag(each) for each in variance])
            found = smoother.update(landmarks, covariance)[0, axis]
            side = np.ptp(landmarks, axis=0).max()
            z, r, q = landmarks[0, axis], variance[0, axis] + 1e-6 * side**2, (0.03 * side) ** 2
            if x is None:
                x, v, pxx, pxv, pvv = z, 0.0, r, 0.0, (0.05 * side) ** 2
            else:
                x, pxx, pxv, pvv = x + v, pxx + 2 * pxv + pvv + q / 4, pxv + pvv + q / 2, pvv + q
                k, g = pxx / (pxx + r), pxv / (pxx + r)
                x, v, pxx, pxv, pvv = x + k * (z - x), v + g * (z - x), (1 - k) * pxx, (1 - k) * pxv, pvv - g * pxv
            assert found == pytest.approx(x, rel=1e-9)
