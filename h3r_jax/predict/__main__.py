"""Finds landmarks in images, folders of images and videos.

    python -m h3r_jax.predict IMAGE... --checkpoint=PATH [--boxes=FILE|detect|whole] [--out=DIR]

One line of JSON for each box: image (of a video also frame), box, landmarks, confidence, covariance, in pixels of the
upright image; for an image or frame without boxes one whose box is null. Without --out the lines are printed; with it they
are written to DIR/landmarks.jsonl, and an overlay of each image to DIR/<name>.png, of each video to DIR/<name>.mp4. What
cannot be read or looked at is reported and passed over, and the command ends with status 1.
"""

from h3r_jax.training import environment  # noqa: F401  (before JAX starts)

# isort: split

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from h3r_jax.images import CROPS
from h3r_jax.predict import inputs, options
from h3r_jax.predict.loading import load_predictor
from h3r_jax.predict.run import Run


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The command's own flags, and the settings for `load_predictor`."""
    parser = argparse.ArgumentParser(prog="python -m h3r_jax.predict", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image, folder or video")
    parser.add_argument("--checkpoint", required=True, help="a workdir, a step of one, or what h3r_jax.convert reads")
    parser.add_argument("--boxes", help="a .csv, .jsonl or COCO .json file; detect, for faces; or whole, for whole images; "
                                        "by default detect, if the scheme is known to be of faces")  # fmt: skip
    parser.add_argument("--min_score", type=float, help="of detections in a COCO file; 0.5 by default")
    parser.add_argument("--out", type=_folder, help="folder to write to")
    parser.add_argument("--max_batch", type=int, default=16, help="boxes that go through the network at once")
    group = options.add_network(parser)
    group.add_argument("--box_scale", type=float, help="growth of a box to the crop")
    group.add_argument("--crop", choices=CROPS)
    settings = vars(parser.parse_args(arguments))
    own = ("images", "checkpoint", "boxes", "min_score", "out", "max_batch")
    return argparse.Namespace(**{name: settings.pop(name) for name in own}), settings


def _folder(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text} is not on this machine; want a folder that is, and copy it from there"
        )
    return Path(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; one sentence and status 1 if it cannot, or if a file was passed over."""
    own, settings = parse(arguments)
    try:
        images, videos, left_out = inputs.expand(own.images, own.out)
        predictor = load_predictor(own.checkpoint, max_batch=own.max_batch, **settings)
        boxes = inputs.choose_boxes(own.boxes, own.min_score, predictor.network.scheme, images + videos)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(*left_out, sep="\n", end="\n" if left_out else "", file=sys.stderr)
    print(f"{predictor.description}; {predictor.network}", file=sys.stderr)
    try:
        run = Run(predictor, boxes, own.out)
        with contextlib.closing(run):
            if images:
                run.images(images)
            for path, name in videos:
                run.video(path, name)
    except OSError as error:  # what cannot be read is reported by the run, so this is what cannot be written
        sys.exit(f"error: {error.filename or own.out or 'the output'} cannot be written: {error.strerror or error}")
    what = f"{run.count} boxes; {run.empty} images or frames without any; {len(run.bad)} errors"
    print(what + (f"; in {own.out}/landmarks.jsonl" if own.out else ""), file=sys.stderr)
    if run.bad:
        sys.exit(1)


if __name__ == "__main__":
    main()
