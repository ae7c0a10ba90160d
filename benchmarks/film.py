"""What following and smoothing do to a film whose landmarks are known.

    python -m benchmarks.film --workdir=runs/quickstart [--frames=200]

The project draws the film: a face of the data set `phantom` that turns, nods and moves over a still background. Each
frame has noise of its own. The network is the one of a run, such as the quickstart's. Where a detector would look, the
film says where the face is.

- jitter: root mean square of the error's change from one frame to the next.
- error: mean distance from the truth.
- lag: the shift in frames at which the predictions fit the truth best.

The unit of jitter and error is a pixel of the frame.

The last table is of a film of a photograph that moves, 640x480 pixels with one face, and of the network that ships:
frames a second with faces that are followed, and with faces that are looked for in each frame. Medians of 3 rounds.
"""

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

import matplotlib
import numpy as np

from data.phantom import drawing, figure
from h3r_jax import geometry, ranges
from h3r_jax.errors import sentences
from h3r_jax.images import read_image
from h3r_jax.predict import faces, load_predictor, tracking

SIZE = 192  # pixels of a frame


def film(frames, seconds_of_a_turn):
    """Frames and landmarks `[frames, K, 2]`; at 25 frames a second."""
    scene = drawing.sample_scene(np.random.Generator(np.random.PCG64(7)))
    scene = dataclasses.replace(scene, occluder=None, noise=0.03)
    pictures, landmarks = [], []
    for frame in range(frames):
        phase = 2 * np.pi * frame / (25 * seconds_of_a_turn)
        pose = figure.rotation(0.35 * np.sin(phase), 0.15 * np.sin(2.1 * phase), 0.1 * np.sin(1.3 * phase))
        centre = 0.5 + 0.06 * np.array([np.sin(0.9 * phase), np.cos(1.1 * phase)])
        moved = dataclasses.replace(scene.figure, rotation=pose, centre=centre, scale=0.2)
        drawn = drawing.render(dataclasses.replace(scene, figure=moved, noise_seed=frame), SIZE)
        pictures.append(drawn.image)
        landmarks.append(drawn.landmarks)
    return pictures, np.array(landmarks)


def measure(found, truth):
    """Jitter and error in pixels, and lag in frames, of landmarks `[frames, K, 2]`."""
    apart = found - truth
    jitter = np.sqrt((np.diff(apart, axis=0) ** 2).sum(axis=-1).mean())
    error = np.linalg.norm(apart, axis=-1).mean()
    frames, lags = np.arange(10, len(truth) - 10), np.arange(-3, 3.01, 0.05)
    still = found - apart.mean(axis=0)  # a constant error is no lag
    fits = []
    for lag in lags:
        low = np.floor(frames - lag).astype(int)
        share = ((frames - lag) - low)[:, None, None]
        late = truth[low] * (1 - share) + truth[low + 1] * share
        fits.append(((still[frames] - late) ** 2).sum(axis=-1).mean())
    return jitter, error, lags[int(np.argmin(fits))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="a run on phantom")
    parser.add_argument("--frames", type=ranges.count, default=200)
    arguments = parser.parse_args()
    with sentences():
        predictor = load_predictor(arguments.workdir)
        print("| seconds of a turn | acceleration | jitter, px | error, px | lag, frames |\n|---|---|---|---|---|")
        for seconds in (8.0, 3.0):
            pictures, truth = film(arguments.frames, seconds)
            places = {id(picture): place for picture, place in zip(pictures, truth)}
            find = lambda pixels, places=places: geometry.landmark_box(places[id(pixels)][None])
            raw = [seen.prediction for seen in tracking.follow(predictor, pictures, find)]
            landmarks = np.concatenate([prediction.landmarks for prediction in raw])
            report(seconds, "not smoothed", landmarks, truth)
            for acceleration in (0.02, 0.01, 0.005, 0.0025, 0.001):
                smoother = tracking.Smoother(acceleration)
                smoothed = [smoother.update(each.landmarks[0], each.covariance[0]) for each in raw]
                report(seconds, f"{acceleration:g}", np.array(smoothed), truth)
        speed(arguments.frames)


def speed(frames):
    """Prints frames a second of following and of detecting."""
    photo = read_image(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    photo = np.pad(photo, ((0, 0), (128, 128), (0, 0)), mode="edge")
    moves = np.rint(60 + 50 * np.sin(0.1 * np.arange(frames))).astype(int)
    pictures = [np.ascontiguousarray(photo[move : move + 480, move : move + 640]) for move in moves]
    predictor, times = load_predictor(), {"followed": [], "looked for in each frame": []}
    for number in range(4):
        for name, seconds in times.items():
            began = time.perf_counter()
            if name == "followed":
                seen = [len(each.tracks) for each in tracking.follow(predictor, pictures, faces.find_faces)]
            else:
                seen = [len(found.boxes) for _, found in predictor.stream((p, faces.find_faces) for p in pictures)]
            if number:  # the first round compiles
                seconds.append(time.perf_counter() - began)
            assert min(seen) == 1
    print("\n| faces are | frames/s |\n|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {frames / statistics.median(seconds):.1f} |")


def report(seconds, name, found, truth):
    jitter, error, lag = measure(found, truth)
    print(f"| {seconds:g} | {name} | {jitter:.3f} | {error:.3f} | {lag:.2f} |", flush=True)


if __name__ == "__main__":
    main()
