"""Finds landmarks in images, folders of images and videos.

    python -m h3r_jax.predict IMAGE... --checkpoint=PATH [--boxes=FILE|detect|whole] [--out=DIR]

One line of JSON for each box: image (of a video also frame), box, landmarks, confidence, covariance, in pixels of the
upright image. Without --out the lines are printed; with it they are written to DIR/landmarks.jsonl, and an overlay of each
image to DIR/<name>.png, of each video to DIR/<name>.mp4. A file that cannot be read is reported and passed over, and the
command ends with status 1.
"""

from h3r_jax.training import environment  # noqa: F401  (before JAX starts)

# isort: split

import argparse
import contextlib
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from h3r_jax import images as image_files
from h3r_jax import visualize
from h3r_jax.predict import boxes as box_files
from h3r_jax.predict import faces, video
from h3r_jax.predict.loading import load_predictor
from h3r_jax.predict.predictor import CROPS
from h3r_jax.training import step


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m h3r_jax.predict", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image, folder or video")
    parser.add_argument("--checkpoint", required=True, help="a workdir, a step of one, or what h3r_jax.convert reads")
    parser.add_argument("--boxes", default="detect", help="a .csv, .jsonl or COCO .json file; detect faces; or the whole image")
    parser.add_argument("--min_score", type=float, default=0.5, help="of detections in a COCO file")
    parser.add_argument("--out", type=Path, help="folder to write to")
    parser.add_argument("--max_batch", type=int, default=16, help="boxes that go through the network at once")
    settings = parser.add_argument_group("what the checkpoint does not say, or otherwise than it says")
    settings.add_argument("--scheme", help="of landmarks")
    settings.add_argument("--input_size", type=int, help="pixels")
    settings.add_argument("--box_scale", type=float, help="growth of a box to the crop")
    settings.add_argument("--crop", choices=CROPS)
    settings.add_argument("--logits", help="of a two-channel head: difference, or on")
    settings.add_argument("--activation", help="of the decoder: softmax, sigmoid or identity")
    settings.add_argument("--k", type=int, help="cells of the decoder")
    settings.add_argument("--flip", choices=step.FLIPS, help="what to average with the mirrored image")
    options = parser.parse_args(arguments)
    names = [action.dest for action in settings._group_actions]
    return options, {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def expand(paths):
    """Images and videos, `[(path, name to write under)]`; folders give all in them that have a known ending.

    Raises:
      ValueError: a folder without any.
    """
    files = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append((path, path.name))
            continue
        known = image_files.EXTENSIONS + video.EXTENSIONS
        found = [file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix.lower() in known]
        if not found:
            raise ValueError(f"{path} holds no image or video ({', '.join(known)})")
        files += [(file, str(file.relative_to(path))) for file in found]
    videos = [file for file in files if file[0].suffix.lower() in video.EXTENSIONS]
    return [file for file in files if file not in videos], videos


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


class Run:
    """One call of the command: where results go, and what went wrong."""

    def __init__(self, predictor, boxes, out):
        self.predictor, self.boxes, self.out = predictor, boxes, out
        self.count, self.empty, self.bad = 0, 0, []
        self._names = set()
        if out:
            out.mkdir(parents=True, exist_ok=True)
        self._lines = (out / "landmarks.jsonl").open("w") if out else sys.stdout

    def boxes_of(self, path):
        """What `Predictor` takes as the boxes of that image."""
        return (lambda pixels: self.boxes(path)) if isinstance(self.boxes, box_files.BoxFile) else self.boxes

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
                    figure = visualize.overlay(pixels, result, self.predictor.network.scheme)
                    visualize.save(figure, self._place(name, ".png"))

    def video(self, path, name):
        """One video, frame by frame."""
        boxes = self.boxes_of(path)
        try:
            rate, total = video.frame_rate(path)
            items = ((frame, boxes) for frame in video.read_video(path))
            with contextlib.ExitStack() as stack:
                progress = stack.enter_context(tqdm(total=total or None, unit="frame", desc=path.name, dynamic_ncols=True))
                writer = None
                if self.out:
                    writer = stack.enter_context(contextlib.closing(video.VideoWriter(self._place(name, ".mp4"), rate)))
                for index, (pixels, result) in enumerate(self.predictor.stream(items)):
                    progress.update()
                    if pixels is None:
                        raise result
                    self._write(path, result, frame=index)
                    if writer:
                        figure = visualize.overlay(pixels, result, self.predictor.network.scheme)
                        writer.write(visualize.to_pixels(figure))
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
    options, settings = parse(arguments)
    known = {"detect": faces.find_faces, "whole": None}
    try:
        boxes = known[options.boxes] if options.boxes in known else box_files.BoxFile(options.boxes, options.min_score)
        images, videos = expand(options.images)
        if options.boxes == "detect":
            faces.check_installed()
        predictor = load_predictor(options.checkpoint, max_batch=options.max_batch, **settings)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    print(f"{predictor.description}; {predictor.network}", file=sys.stderr)
    run = Run(predictor, boxes, options.out)
    with contextlib.closing(run):
        if images:
            run.images(images)
        for path, name in videos:
            run.video(path, name)
    what = f"{run.count} boxes; {run.empty} images or frames without any; {len(run.bad)} files passed over"
    print(what + (f"; in {options.out}/landmarks.jsonl" if options.out else ""), file=sys.stderr)
    if run.bad:
        sys.exit(1)


if __name__ == "__main__":
    main()
