"""Finds landmarks in images, folders of images and videos.

    python -m h3r_jax.predict IMAGE... --checkpoint=PATH [--boxes=FILE|detect|whole] [--out=DIR]

One line of JSON for each box: image (of a video also frame), box, landmarks, confidence, covariance, in pixels of the
upright image. Without --out the lines are printed; with it they are written to DIR/landmarks.jsonl, and an overlay of each
image to DIR/<name>.png, of each video to DIR/<name>.mp4. What cannot be read or looked at is reported and passed over, and
the command ends with status 1.
"""

from h3r_jax.training import environment  # noqa: F401  (before JAX starts)

# isort: split

import argparse
import collections
import contextlib
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from h3r_jax import images as image_files
from h3r_jax import visualize
from h3r_jax.landmarks import SCHEMES
from h3r_jax.predict import boxes as box_files
from h3r_jax.predict import faces, options, video
from h3r_jax.predict.loading import load_predictor
from h3r_jax.predict.network import CROPS
from h3r_jax.predict.predictor import Prediction

NOTHING = Prediction(np.zeros((0, 4)), np.zeros((0, 0, 2)), np.zeros((0, 0)), np.zeros((0, 0, 2, 2)))


def parse(arguments):
    """The command's own flags, and the settings for `load_predictor`."""
    parser = argparse.ArgumentParser(prog="python -m h3r_jax.predict", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image, folder or video")
    parser.add_argument("--checkpoint", required=True, help="a workdir, a step of one, or what h3r_jax.convert reads")
    parser.add_argument("--boxes", help="a .csv, .jsonl or COCO .json file; detect, for faces; or whole, for whole images; "
                                        "by default detect, if the scheme is known to be of faces")  # fmt: skip
    parser.add_argument("--min_score", type=float, default=0.5, help="of detections in a COCO file")
    parser.add_argument("--out", type=Path, help="folder to write to")
    parser.add_argument("--max_batch", type=int, default=16, help="boxes that go through the network at once")
    group = options.add_network(parser)
    group.add_argument("--box_scale", type=float, help="growth of a box to the crop")
    group.add_argument("--crop", choices=CROPS)
    settings = vars(parser.parse_args(arguments))
    own = ("images", "checkpoint", "boxes", "min_score", "out", "max_batch")
    return argparse.Namespace(**{name: settings.pop(name) for name in own}), settings


def expand(paths):
    """Files to look at; of a folder all in it that have a known ending.

    Returns:
      Images and videos, `[(path, name to write under)]`, and a sentence for each folder that holds something else.

    Raises:
      ValueError: a folder without any image or video.
    """
    known = image_files.EXTENSIONS + video.EXTENSIONS
    files, left_out = [], []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append((path, path.name))
            continue
        there = [file for file in sorted(path.rglob("*")) if file.is_file()]
        found = [file for file in there if file.suffix.lower() in known]
        other = collections.Counter(file.suffix.lower() or "without an ending" for file in there if file not in found)
        counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(other.items()))
        if not found:
            raise ValueError(f"{path} holds no image or video ({', '.join(known)}){f', but {counts}' if other else ''}")
        if other:
            left_out.append(f"{path}: left out by their endings: {counts}")
        files += [(file, str(file.relative_to(path))) for file in found]
    videos = [file for file in files if file[0].suffix.lower() in video.EXTENSIONS]
    return [file for file in files if file not in videos], videos, left_out


def choose_boxes(choice, min_score, scheme):
    """What `Run` takes as boxes.

    Args:
      choice: value of --boxes, None if it was not given.
      min_score: see `BoxFile`.
      scheme: LandmarkScheme of the network.

    Raises:
      ValueError: the file of boxes is bad; or faces would be looked for, but the scheme is of bodies, or nothing was chosen
        and the scheme may be of anything; or the detector is not installed.
    """
    if choice == "whole":
        return None
    if choice not in (None, "detect"):
        return box_files.BoxFile(choice, min_score)
    if scheme.upper_body:
        raise ValueError(f"scheme {scheme.name} is of bodies, and only faces can be detected; want --boxes=FILE or --boxes=whole")
    if choice is None and scheme not in SCHEMES.values():
        raise ValueError(
            f"scheme {scheme.name} may be of faces or not; want --boxes=detect if it is, else --boxes=FILE or --boxes=whole"
        )
    faces.check_installed()
    return faces.find_faces


def records(image, prediction, **more):
    """One dict for each box; what is not a number becomes null."""

    def listed(values, digits):
        return [listed(value, digits) if np.ndim(value) else round(float(value), digits) if np.isfinite(value) else None
                for value in values]  # fmt: skip

    for box, landmarks, confidence, covariance in zip(*prediction):
        yield {
            "image": str(image),
            **more,
            "box": listed(box, 3),
            "landmarks": listed(landmarks, 3),
            "confidence": listed(confidence, 5),
            "covariance": listed(covariance, 4),
        }


def overlay(pixels, result, scheme):
    """`visualize.overlay` of an image; a large one is shrunk first, as matplotlib takes a hundred bytes for each pixel."""
    longest = visualize.OVERLAY_SIDE[1]
    if max(pixels.shape) > longest:
        sides = np.array(pixels.shape[1::-1])
        size = np.maximum(1, np.round(sides * (longest / sides.max()))).astype(int)
        scale = size / sides
        result = Prediction(
            (result.boxes + 0.5) * [*scale, *scale] - 0.5,
            (result.landmarks + 0.5) * scale - 0.5,
            result.confidence,
            result.covariance * np.outer(scale, scale),
        )
        pixels = np.asarray(Image.fromarray(pixels).resize(size.tolist(), Image.Resampling.BILINEAR))
    return visualize.overlay(pixels, result, scheme)


class Run:
    """One call of the command: where results go, and what went wrong."""

    def __init__(self, predictor, boxes, out):
        self.predictor, self.boxes, self.out = predictor, boxes, out
        self.count, self.empty, self.bad = 0, 0, []
        self._names = set()
        if out:
            out.mkdir(parents=True, exist_ok=True)
        self._lines = (out / "landmarks.jsonl").open("w") if out else sys.stdout

    def boxes_of(self, path, frame=None):
        """What `Predictor` takes as the boxes of that image, or of that frame of a video."""
        return (lambda pixels: self.boxes(path, frame)) if isinstance(self.boxes, box_files.BoxFile) else self.boxes

    def images(self, files):
        """All images, as one stream."""
        items = ((path, self.boxes_of(path)) for path, _ in files)
        with tqdm(total=len(files), unit="image", dynamic_ncols=True) as progress:
            for (path, name), (pixels, result) in zip(files, self.predictor.stream(items)):
                progress.update()
                if isinstance(result, ValueError):
                    self._report(progress, str(result))
                    continue
                self._write(path, result)
                if not len(result.boxes):
                    progress.write(f"{path}: no boxes", file=sys.stderr)
                if self.out:
                    figure = overlay(pixels, result, self.predictor.network.scheme)
                    visualize.save(figure, self._place(name, ".png"))

    def video(self, path, name):
        """One video, frame by frame."""
        count, bad = 0, []
        try:
            if isinstance(self.boxes, box_files.BoxFile):
                self.boxes(path, 0)  # one error if the file does not know the video, rather than one for each frame
            rate, promised = video.frame_rate(path)
            items = ((frame, self.boxes_of(path, index)) for index, frame in enumerate(video.read_video(path)))
            with contextlib.ExitStack() as stack:
                progress = stack.enter_context(tqdm(total=promised or None, unit="frame", desc=path.name, dynamic_ncols=True))
                writer = None
                if self.out:
                    writer = stack.enter_context(contextlib.closing(video.VideoWriter(self._place(name, ".mp4"), rate)))
                for index, (pixels, result) in enumerate(self.predictor.stream(items)):
                    progress.update()
                    count += 1
                    if isinstance(result, ValueError):
                        bad.append(f"frame {index}: {str(result).removeprefix(f'image {index}: ')}")
                        result = NOTHING
                    else:
                        self._write(path, result, frame=index)
                    if writer:
                        figure = overlay(pixels, result, self.predictor.network.scheme)
                        writer.write(visualize.to_pixels(figure))
            if bad:
                raise ValueError(f"{len(bad)} of {count} frames were passed over, the first being {bad[0]}")
            if count < promised:
                raise ValueError(f"{count} frames could be read of {promised} that it promises; it is cut short or damaged")
        except ValueError as error:
            self._report(tqdm, str(error) if str(error).startswith(str(path)) else f"{path}: {error}")

    def _write(self, path, result, **more):
        self.count += len(result.boxes)
        self.empty += not len(result.boxes)
        for record in records(path, result, **more):
            print(json.dumps(record), file=self._lines)

    def _report(self, progress, message):
        self.bad.append(message)
        progress.write(f"error: {message}", file=sys.stderr)

    def _place(self, name, suffix):
        """Where to write what belongs to the input `name`; inputs of one name are numbered."""
        place, number = self.out / (name + suffix), 1
        while place in self._names:
            number += 1
            place = self.out / f"{name}-{number}{suffix}"
        self._names.add(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def close(self):
        if self.out:
            self._lines.close()


def main(arguments=None):
    """Runs the command; one sentence and status 1 if it cannot, or if a file was passed over."""
    own, settings = parse(arguments)
    try:
        images, videos, left_out = expand(own.images)
        predictor = load_predictor(own.checkpoint, max_batch=own.max_batch, **settings)
        boxes = choose_boxes(own.boxes, own.min_score, predictor.network.scheme)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    print(*left_out, sep="\n", end="\n" if left_out else "", file=sys.stderr)
    print(f"{predictor.description}; {predictor.network}", file=sys.stderr)
    run = Run(predictor, boxes, own.out)
    with contextlib.closing(run):
        if images:
            run.images(images)
        for path, name in videos:
            run.video(path, name)
    what = f"{run.count} boxes; {run.empty} images or frames without any; {len(run.bad)} errors"
    print(what + (f"; in {own.out}/landmarks.jsonl" if own.out else ""), file=sys.stderr)
    if run.bad:
        sys.exit(1)


if __name__ == "__main__":
    main()
