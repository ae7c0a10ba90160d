"""Data sets by name, and their preparation.

    python -m data.prepare NAME [--data_dir=DIR] [--folder=FOLDER] [--prepared_dir=DIR] [--overlays=DIR]

prepares one and says what is in it; with --overlays it also shows the first images of each split.
"""

import argparse
import contextlib
import functools
import io
import sys
import time
from collections import Counter

import numpy as np
from etils import epath

from configs import common
from data import (
    aflw,
    aflw2k3d,
    aflw2000,
    coco_keypoints,
    cofw,
    csv_landmarks,
    lapa,
    mpii,
    overlays,
    phantom,
    the300w_lp,
    w300,
    wflw,
)
from data.builder import make_builder
from data.source import Source
from h3r_jax import visualize
from h3r_jax.errors import UserError

# name in `config.data.name` -> function(folder, prepared_dir, num_landmarks) that returns a TFDS builder
DATASETS = {
    "phantom": functools.partial(make_builder, phantom.Phantom),
    "csv": csv_landmarks.make_builder,
    "mpii": functools.partial(make_builder, mpii.Mpii),
    "coco_keypoints": functools.partial(make_builder, coco_keypoints.CocoKeypoints),
    "wflw": functools.partial(make_builder, wflw.Wflw),
    "w300": functools.partial(make_builder, w300.W300),
    "cofw": functools.partial(make_builder, cofw.Cofw),
    "aflw": functools.partial(make_builder, aflw.Aflw),
    "lapa": functools.partial(make_builder, lapa.Lapa),
    "the300w_lp": functools.partial(make_builder, the300w_lp.The300wLp),
    "aflw2k3d": functools.partial(make_builder, aflw2k3d.Aflw2k3d),
    "aflw2000": functools.partial(make_builder, aflw2000.Aflw2000),
}
# name -> directory under `config.data_dir`, where the data set's owners call it otherwise
FOLDERS = {"w300": "300w", "coco_keypoints": "coco"}


def prepare(name, *, data_dir, prepared_dir, folder, num_landmarks):
    """A prepared TFDS builder; the first call reads every image of the raw data, later ones nothing.

    Args:
      name: in `DATASETS`.
      data_dir: directory of raw data sets.
      prepared_dir: directory where TFDS keeps prepared ones.
      folder: the data set's directory under `data_dir`; empty for the one in `FOLDERS`, or else its name.
      num_landmarks: K, checked against the data; None for the data set's own.

    Raises:
      ValueError: unknown name, or raw data that is not as the builder's documentation says; names file and record.
      FileNotFoundError: the raw data is not there.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}")
    raw = epath.Path(data_dir).expanduser() / (folder or FOLDERS.get(name, name))
    builder = DATASETS[name](raw, epath.Path(prepared_dir).expanduser(), num_landmarks)
    if new := not builder.info.splits:
        print(f"Preparing {builder.info.full_name} in {builder.data_dir}, once; later runs find it there.")
    with contextlib.redirect_stdout(
        io.StringIO()
    ):  # TFDS announces a download, and mostly there is none; its bars are on stderr
        builder.download_and_prepare(file_format="array_record")
    if new:
        for split in builder.info.splits:
            if reasons := left_out(builder, split):
                print(f"{split}: {reasons}")
    return builder


def left_out(builder, split):
    """Which entries of a split's files are no record, in words; empty if none."""
    reasons = builder.info.metadata.get("left_out", {}).get(split, {})
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"left out as the protocol says: {listed}" if listed else ""


def complete(count, official):
    """How many records of the official distribution are there, in words; `official` is None if nobody says."""
    if official is None:
        return f"{count}"
    if count == official:
        return f"{count} of {official}"
    return (
        f"{count} of {official}: this copy is not complete"
        if count < official
        else f"{count}, more than the official {official}"
    )


def summary(builder, split):
    """What is in a split, as lines of text."""
    official = builder.OFFICIAL_COUNTS.get(split)
    if split not in builder.info.splits:
        return f"{split} {complete(0, official)}"
    annotations = Source(builder, split).annotations()
    subsets = Counter(name for names in annotations.subsets for name in names)
    lines = [
        f"{split} {complete(len(annotations.name), official)}",
        f"  landmarks outside their image: {annotations.outside_image()} of {int((annotations.weight > 0).sum())}",
        f"  records without box: {int(np.isnan(annotations.box).any(axis=1).sum())}",
    ]
    official = builder.OFFICIAL_SUBSETS.get(split, {})
    lines += [
        f"  subset {name} {complete(subsets[name], official.get(name))}" for name in sorted({*subsets, *official})
    ]
    if reasons := left_out(builder, split):
        lines.append(f"  {reasons}")
    return "\n".join(lines)


def main(arguments=None):
    defaults = common.get_config()
    parser = argparse.ArgumentParser(
        description="Prepares a data set and says what is in it. "
        f"Known are {', '.join(DATASETS)}; the documentation of data/NAME.py says where each comes from and how it is laid out."
    )
    parser.add_argument("name", choices=DATASETS, metavar="NAME", help="of the data set")
    parser.add_argument(
        "--data_dir", default=defaults.data_dir, help="directory of raw data sets (default: %(default)s)"
    )
    others = ", ".join(f"{folder} for {name}" for name, folder in FOLDERS.items())
    parser.add_argument(
        "--folder", default="", help=f"the data set's directory under it (default: its name, but {others})"
    )
    parser.add_argument(
        "--prepared_dir", default=defaults.prepared_dir, help="where prepared data sets are kept (default: %(default)s)"
    )
    parser.add_argument("--landmarks", type=int, help="K of a csv data set; the others know theirs")
    parser.add_argument(
        "--overlays", metavar="DIR", help="write DIR/NAME-SPLIT.png: its first images with landmarks and boxes"
    )
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    try:
        builder = prepare(
            options.name,
            data_dir=options.data_dir,
            prepared_dir=options.prepared_dir,
            folder=options.folder,
            num_landmarks=options.landmarks,
        )
        seconds = time.monotonic() - begin
        for split in dict.fromkeys([*builder.OFFICIAL_COUNTS, *builder.info.splits]):
            print(summary(builder, split))
        for split in builder.info.splits if options.overlays else ():
            path = epath.Path(options.overlays).expanduser() / f"{options.name}-{split}.png"
            visualize.save(overlays.sheet(builder, split), path)
            print(f"Wrote {path}")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{builder.info.full_name} is ready in {builder.data_dir}, after {seconds:.1f} s.")


if __name__ == "__main__":
    main()
