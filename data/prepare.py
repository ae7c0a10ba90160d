"""Data sets by name, and their preparation.

    python -m data.prepare NAME [--data_dir=DIR] [--folder=FOLDER] [--prepared_dir=DIR] [--overlays=DIR]

prepares one and prints the counts of its splits. With --overlays it also draws the first images of each split. Raw data
is read from DATA_DIR/FOLDER. Prepared data is kept in DATA_DIR/prepared unless --prepared_dir is given. The data set
`csv` also needs --landmarks=K.
"""

if __name__ == "__main__":
    from h3r_jax.training import environment  # noqa: F401  (before TensorFlow starts)

import argparse
import contextlib
import functools
import io
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from configs import common
from data import (
    aflw,
    aflw2k3d,
    aflw2000,
    coco_file,
    coco_keypoints,
    cofw,
    csv_landmarks,
    lapa,
    mpii,
    the300w_lp,
    w300,
    wflw,
)
from data.builder import LandmarkBuilder, make_builder
from data.overlays import sheet
from data.phantom.builder import Phantom
from data.prepared import check, remove_half_made, sets_of, writing
from data.source import Source
from h3r_jax import ranges, visualize
from h3r_jax.claims import Claim
from h3r_jax.errors import UserError, of_the_user, sentences
from h3r_jax.files import check_free

PUBLISHED: tuple[type[LandmarkBuilder], ...] = (
    mpii.Mpii, coco_keypoints.CocoKeypoints, wflw.Wflw, w300.W300, cofw.Cofw, aflw.Aflw, lapa.Lapa,
    the300w_lp.The300wLp, aflw2k3d.Aflw2k3d, aflw2000.Aflw2000,
)  # fmt: skip
# name in `config.data.name` -> function(folder, prepared_dir, num_landmarks) that returns the builder
DATASETS: dict[str, Callable[[epath.Path, epath.Path, int | None], LandmarkBuilder]] = {
    "phantom": functools.partial(make_builder, Phantom),
    "csv": csv_landmarks.make_builder,
    "coco_file": coco_file.make_builder,
    **{cls.name: functools.partial(make_builder, cls) for cls in PUBLISHED},
}
# name -> directory under `config.data_dir`, for data sets whose directory has another name
FOLDERS = {"w300": "300w", "coco_keypoints": "coco"}


def prepare(
    name: str, *, data_dir: epath.PathLike, prepared_dir: epath.PathLike | None, folder: str, num_landmarks: int | None
) -> LandmarkBuilder:
    """A prepared builder. The first call reads the raw data and decodes every image; later calls decode none.

    Of several processes that want the same data one prepares it, and the others wait.

    Args:
      name: in `DATASETS`.
      data_dir: directory of raw data sets.
      prepared_dir: directory where TFDS keeps prepared ones; empty or None for `data_dir/prepared`.
      folder: the data set's directory under `data_dir`; empty for the one in `FOLDERS`, or else its name.
      num_landmarks: K, checked against the data; None for the data set's own.

    Raises:
      UserError: unknown name, or raw data that is not as the builder's documentation says; names file and record.
      FileNotFoundError: the raw data is not there.
      OSError: the prepared data is damaged, or cannot be written; names its folder and the remedy.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}")
    with of_the_user():
        for field, path in {"data_dir": data_dir, "prepared_dir": prepared_dir or "", "data.folder": folder}.items():
            ranges.check(field, os.fspath(path), field)
    data_dir = epath.Path(data_dir).expanduser()
    prepared = epath.Path(prepared_dir).expanduser() if prepared_dir else data_dir / "prepared"
    raw = data_dir / (folder or FOLDERS.get(name, name))
    make = functools.partial(DATASETS[name], raw, prepared, num_landmarks)
    builder = make()
    if not builder.data_path.exists():
        builder = _prepare_once(builder, make)
    return builder


def _prepare_once(builder: LandmarkBuilder, make: Callable[[], LandmarkBuilder]) -> LandmarkBuilder:
    """Prepares the set of a builder, unless another process is at it, and returns a builder of the set; see `prepare`.

    make: function that makes the builder again.
    """
    builder_dir, raw_name = builder.data_path.parents[1], builder.builder_config.folder.resolve().name
    claim = Claim(builder_dir / f"{raw_name}.preparing.json", f"the preparation of {raw_name}", wait=True)
    with writing(builder.data_path), claim:
        if builder.data_path.exists():
            print(f"{builder.info.full_name} is ready now.", flush=True)
            return make()
        remove_half_made(builder_dir, raw_name)
        print(f"Preparing {builder.info.full_name} in {builder.data_dir}, once; later runs find it there.", flush=True)
        if earlier := sets_of(builder_dir, raw_name):
            listed = " and ".join(map(str, earlier))
            print(f"It takes the place of {listed}, which may be removed if no training reads from there.", flush=True)
        # TFDS announces a download here, and mostly there is none; its progress bars are on standard error.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(file_format="array_record")
        builder.builder_config.contents.remember()
    for split in builder.info.splits:
        if reasons := left_out(builder, split):
            print(f"{split}: {reasons}")
    return builder


def left_out(builder: LandmarkBuilder, split: str) -> str:
    """The number of entries that the protocol leaves out of a split, by reason, in words; empty if there is none."""
    reasons = builder.info.metadata.get("left_out", {}).get(split, {})
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"left out as the protocol says: {listed}" if listed else ""


def complete(count: int, official: int | None) -> str:
    """A count of records beside the official one, in words; `official` is None if nobody says."""
    if official is None:
        return f"{count}"
    if count > official:
        return f"{count}, more than the official {official}"
    return f"{count} of {official}" + (": this copy is not complete" if count < official else "")


def summary(builder: LandmarkBuilder, split: str) -> str:
    """The counts of a split and its subsets, as lines of text."""
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
    known = builder.OFFICIAL_SUBSETS.get(split, {})
    lines += [f"  subset {name} {complete(subsets[name], known.get(name))}" for name in sorted({*subsets, *known})]
    if reasons := left_out(builder, split):
        lines.append(f"  {reasons}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's documentation."""
    defaults = common.get_config()
    parser = argparse.ArgumentParser(
        description=f"Prepares a data set and prints the counts of its splits. Known are {', '.join(DATASETS)}; "
        "the documentation of data.NAME says where a data set comes from and how its folder is laid out."
    )
    parser.add_argument("name", choices=DATASETS, metavar="NAME", help="of the data set")
    others = ", ".join(f"{folder} for {name}" for name, folder in FOLDERS.items())
    parser.add_argument("--data_dir", default=defaults.data_dir, help="where raw data sets are (default: %(default)s)")
    parser.add_argument("--folder", default="", help=f"of NAME, in DATA_DIR (default: NAME, but {others})")
    where = f"where prepared sets go (default: {defaults.prepared_dir or 'DATA_DIR/prepared'})"
    parser.add_argument("--prepared_dir", default=defaults.prepared_dir, help=where)
    parser.add_argument(
        "--landmarks",
        dest="num_landmarks",
        type=ranges.count,
        metavar="LANDMARKS",
        help="K of a csv data set; the others know theirs",
    )
    parser.add_argument("--overlays", metavar="DIR", help="write DIR/NAME-SPLIT.png: images with landmarks and boxes")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures of --overlays that are there")
    options = vars(parser.parse_args(arguments))
    overlays, overwrite, begin = options.pop("overlays"), options.pop("overwrite"), time.monotonic()
    with sentences():
        builder = prepare(**options)
        seconds = time.monotonic() - begin
        check(builder.data_path, fully=True)
        for split in dict.fromkeys([*builder.OFFICIAL_COUNTS, *builder.info.splits]):
            print(summary(builder, split))
        for split in builder.info.splits if overlays else ():
            path = epath.Path(overlays).expanduser() / f"{options['name']}-{split}.png"
            check_free(path, overwrite=overwrite)
            visualize.save(sheet(builder, split), path)
            print(f"Wrote {path}")
    print(f"{builder.info.full_name} is ready in {builder.data_dir}, after {seconds:.1f} s.")


if __name__ == "__main__":
    main()
