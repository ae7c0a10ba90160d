"""Finds landmarks in images, folders of images and videos.

    python -m h3r_jax.predict IMAGE... [--checkpoint=PATH|NAME --boxes=FILE|detect|whole --out=DIR]

Without --checkpoint it finds the 68 landmarks of faces, with the network that ships with the package.

One line of JSON for each box: image (of a video also frame), box, landmarks, confidence, covariance, in pixels of the
upright image. An image or frame without boxes has one line, whose box is null. The lines are printed. With --out they
are written to DIR/landmarks.jsonl, with an overlay of each image as DIR/NAME.png and of each video as DIR/NAME.mp4.
Files that are there already are replaced with --overwrite alone.
An image that cannot be read or looked at is reported and passed over, and the command ends with status 1.
"""

from h3r_jax.training import environment  # before JAX starts

# isort: split

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from h3r_jax import weights
from h3r_jax.errors import UserError, sentences
from h3r_jax.images import CROPS
from h3r_jax.predict import inputs
from h3r_jax.predict.boxes import BoxFile
from h3r_jax.predict.loading import load_predictor
from h3r_jax.predict.options import add_network
from h3r_jax.predict.output import Output
from h3r_jax.predict.over_files import predict_images, predict_video
from h3r_jax.ranges import count, decimal


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The command's own flags, and the settings for `load_predictor`."""
    parser = argparse.ArgumentParser(
        prog="python -m h3r_jax.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image, folder or video")
    names = ", ".join(weights.list_models())
    checkpoint = f"a network that ships ({names}), a workdir, a step of one, or what h3r_jax.convert reads"
    parser.add_argument("--checkpoint", default=weights.FACES, help=f"{checkpoint} (default: %(default)s)")
    boxes = "where to look: a .csv, .jsonl or COCO .json file, detect (finds faces) or whole (takes the whole image)"
    parser.add_argument("--boxes", help=f"{boxes}; default: detect, for a known scheme of faces")
    parser.add_argument("--min_score", type=decimal, help="least score of a box in a COCO file (default: 0.5)")
    parser.add_argument("--out", type=_folder, metavar="DIR", help="folder to write lines and overlays to")
    parser.add_argument("--overwrite", action="store_true", help="replace files that an earlier call wrote to DIR")
    parser.add_argument("--numbers", action="store_true", help="draw the number of each landmark beside it")
    parser.add_argument("--smooth", action="store_true", help="smooth the landmarks of faces in videos over time")
    parser.add_argument("--max_batch", type=count, default=16, help="most crops in one batch (default: %(default)s)")
    group = add_network(parser)
    group.add_argument("--box_scale", type=decimal, help="size of the crop, relative to the box")
    group.add_argument("--crop", choices=CROPS, help="way to cut a crop: exact, or reference (by whole pixels, as H3R)")
    settings = vars(parser.parse_args(arguments))
    own = ("images", "checkpoint", "boxes", "min_score", "out", "overwrite", "numbers", "smooth", "max_batch")
    return argparse.Namespace(**{name: settings.pop(name) for name in own}), settings


def _folder(text: str) -> Path:
    if "://" in text or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is not on this machine; want a folder that is")
    return Path(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; one sentence and status 1 for a mistake of the user, status 1 if a file was passed over."""
    own, settings = parse(arguments)
    environment.keep_what_is_compiled()
    if sys.stderr is None:  # closed; what is said would go to standard output
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the end
    with sentences():
        images, videos, left_out = inputs.expand(own.images, own.out)
        if own.smooth and (not videos or own.boxes not in (None, "detect")):
            raise UserError(
                "--smooth is for videos in which faces are followed, without --boxes or with --boxes=detect"
            )
        options = {name: getattr(own, name) for name in ("overwrite", "numbers", "smooth")}
        output = Output(own.out, images + videos, len(videos), own.boxes, **options)
        with contextlib.closing(output):
            predictor = load_predictor(own.checkpoint, max_batch=own.max_batch, **settings)
            boxes = inputs.choose_boxes(own.boxes, own.min_score, predictor.network.scheme, images + videos)
            if isinstance(boxes, BoxFile) and boxes.left_out:
                counts = ", ".join(f"{count} {reason}" for reason, count in boxes.left_out.items())
                left_out.append(f"{own.boxes}: left out: {counts}")
            for line in (*left_out, f"{predictor.description}; {predictor.network}"):
                print(line, file=sys.stderr)
            if images:
                predict_images(predictor, boxes, images, output)
            for index, (path, _) in enumerate(videos, start=len(images)):
                predict_video(predictor, boxes, path, output, output.place(index))
    print(output, file=sys.stderr)
    if output.errors:
        sys.exit(1)


if __name__ == "__main__":
    main()
