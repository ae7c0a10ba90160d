"""Faces in a film: followed from frame to frame, and smoothed over time.

A face is looked for once. In the next frame its box is the box around its landmarks. That is faster than a detector,
and it is the box that a network is trained with.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from h3r_jax import geometry
from h3r_jax.errors import UserError
from h3r_jax.predict.boxes import outside
from h3r_jax.predict.predictor import Prediction, Predictor, join

DETECT_EVERY = 25  # frames after which new faces are looked for
SURE = 0.8  # a face whose confidence falls below this share of its first one is lost
SAME = 0.5  # intersection over union from which two boxes are of one face
# Deviation of the acceleration that the filter expects, per frame and frame, as a share of the box's longer side. With
# a larger one it smooths less, with a smaller one it lags behind: python -m benchmarks.film.
ACCELERATION = 0.01


class Tracked(NamedTuple):
    """The faces of one frame.

    pixels: `uint8[H, W, 3]`.
    prediction: Prediction of the `n` faces; or the ValueError that says why there is none.
    tracks: `int[n]`, the number of each face, which it keeps as long as it is followed.
    """

    pixels: np.ndarray
    prediction: Prediction | ValueError
    tracks: np.ndarray


@dataclasses.dataclass
class Track:
    """One face: its number, its box `float64[4]` in the next frame, its first confidence, and its filter."""

    number: int
    box: np.ndarray
    confidence: float
    smoother: "Smoother"


def follow(
    predictor: Predictor,
    frames: Iterable[np.ndarray],
    find: Callable[[np.ndarray], np.ndarray],
    *,
    smooth: bool = False,
) -> Iterator[Tracked]:
    """The faces of a film.

    They are looked for in the first frame, in every `DETECT_EVERY`th one, and where one is lost or there is none.

    Args:
      predictor: Predictor.
      frames: `uint8[H, W, 3]`, one by one.
      find: function from a frame to the boxes `[n, 4]` of its faces, such as `faces.find_faces`.
      smooth: whether the landmarks are those of `Smoother`. Confidence and covariance stay the network's own.

    Yields:
      Tracked, for each frame.
    """
    tracks: list[Track] = []
    count = since = 0
    for pixels in frames:
        try:
            followed = len(tracks)
            tracks = [track for track in tracks if not outside(track.box[None], pixels.shape)[0]]
            prediction = predictor(pixels, np.reshape([track.box for track in tracks], (-1, 4)))
            kept = _still_there(tracks, prediction)
            since += 1
            if not tracks or len(kept) < followed or since >= DETECT_EVERY:
                since, there = 0, prediction.boxes[kept]
                new = [box for box in find(pixels) if not len(there) or overlaps(box, there).max() < SAME]
                found = predictor(pixels, np.reshape(new, (-1, 4)))
                tracks = [tracks[index] for index in kept]
                for box, confidence in zip(found.boxes, found.confidence):
                    tracks.append(Track(count, box, confidence.mean(), Smoother()))
                    count += 1
                prediction = join([Prediction(*(values[kept] for values in prediction)), found])
        except UserError as error:
            tracks = []
            yield Tracked(pixels, error, np.zeros(0, int))
            continue
        for track, box in zip(tracks, geometry.landmark_box(prediction.landmarks)):
            track.box = box
        if smooth:
            each = zip(tracks, prediction.landmarks, prediction.covariance)
            smoothed = [track.smoother.update(landmarks, covariance) for track, landmarks, covariance in each]
            prediction = prediction._replace(landmarks=np.reshape(smoothed, prediction.landmarks.shape))
        yield Tracked(pixels, prediction, np.array([track.number for track in tracks], int))


def _still_there(tracks: list[Track], prediction: Prediction) -> list[int]:
    """The tracks that go on: the network is sure of them, and no earlier one is of the same face."""
    kept: list[int] = []
    boxes = geometry.landmark_box(prediction.landmarks)
    for index, track in enumerate(tracks):
        sure = prediction.confidence[index].mean() >= SURE * track.confidence
        twice = len(kept) and overlaps(boxes[index], boxes[kept]).max() >= SAME
        if sure and not twice:
            kept.append(index)
    return kept


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box `[4]` with boxes `[n, 4]`."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = np.prod(np.maximum(sides, 0), axis=1)
    return both / (np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - both)


class Smoother:
    """A Kalman filter of landmarks that move with constant velocity, but for random accelerations.

    The network's covariance says how far each landmark is to be trusted in each frame, and in which direction. See any
    textbook on tracking, such as Bar-Shalom et al., "Estimation with Applications to Tracking and Navigation", 6.3.2,
    discrete white noise acceleration.
    """

    def __init__(self, acceleration: float = ACCELERATION):
        self.acceleration = acceleration
        self.state: np.ndarray | None = None  # float64[K, 4]: x, y, and their changes per frame
        self.covariance = np.zeros((0, 4, 4))

    def update(self, landmarks: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """The smoothed landmarks of the next frame, `float64[K, 2]`.

        Args:
          landmarks: `[K, 2]`, pixels, as the network says them.
          covariance: `[K, 2, 2]`, square pixels.
        """
        side = np.ptp(landmarks, axis=0).max()
        noise = covariance + 1e-6 * side**2 * np.eye(2)[None]  # or a covariance of zero could not be inverted
        if self.state is None:
            self.state = np.concatenate([landmarks, np.zeros_like(landmarks)], axis=1)
            self.covariance = np.zeros((len(landmarks), 4, 4))
            self.covariance[:, :2, :2] = noise
            self.covariance[:, [2, 3], [2, 3]] = (0.05 * side) ** 2  # of a velocity that nobody knows yet
            return landmarks
        move = np.kron([[1.0, 1.0], [0.0, 1.0]], np.eye(2))
        push = np.kron([[0.25, 0.5], [0.5, 1.0]], np.eye(2)) * (self.acceleration * side) ** 2
        state, spread = self.state @ move.T, move @ self.covariance @ move.T + push
        gain = spread[:, :, :2] @ np.linalg.inv(spread[:, :2, :2] + noise)
        self.state = state + (gain @ (landmarks - state[:, :2])[..., None])[..., 0]
        self.covariance = spread - gain @ spread[:, :2]
        return self.state[:, :2]
