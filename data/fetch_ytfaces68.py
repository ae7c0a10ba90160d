"""Fetches real faces with 68 landmarks and writes them as a `csv` data set.

    python -m data.fetch_ytfaces68 --data_dir=DIR

writes DIR/ytfaces68/{train.csv,val.csv,train/,val/}: frames of YouTube Faces with the
landmarks that github.com/udacity/P1_Facial_Keypoints publishes, in 300W's order.
Every image of the archive's test part is also in its training part. So the program pools
the images, takes each name once, and divides them anew by person: every eighth person in
alphabetical order is in `val`. People's names become numbers.

If there is no network here, fetch the archive elsewhere and add --archive=FILE.
"""

import argparse
import csv
import io
import re
import shutil
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image
from tqdm import tqdm

from configs import common
from data.parsing import numbers
from h3r_jax.claims import Claim
from h3r_jax.errors import UserError, is_full_disk, sentences
from h3r_jax.files import writing

SOURCES = (
    "https://github.com/udacity/P1_Facial_Keypoints/archive/refs/heads/master.zip",
    "https://s3.amazonaws.com/video.udacity-data.com/topher/2018/May/5aea1b91_train-test-data/train-test-data.zip",
)
# The annotation file of each part and the folder of its images, which stands beside it.
PARTS = {"training_frames_keypoints.csv": "training", "test_frames_keypoints.csv": "test"}
NUM_LANDMARKS = 68
JPEG_QUALITY = 92
VALIDATION_EVERY = 8  # people
NAME = re.compile(r"(?P<person>.+)_(?P<frame>\d+)\.\w+")


def download(url: str, path: Path, timeout: float = 60) -> None:
    """Downloads a file of the web to `path`; a part of a file is removed again. `timeout` is in seconds.

    Raises:
      OSError: no answer, or fewer bytes than were announced.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "h3r_jax"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer, path.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0)
            with tqdm.wrapattr(answer, "read", total=size or None, desc=url.rsplit("/", 1)[1]) as counted:
                shutil.copyfileobj(counted, file)
        if size and path.stat().st_size != size:
            raise OSError(f"the connection broke after {path.stat().st_size} of {size} bytes")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_archive(archive: zipfile.ZipFile) -> dict[str, tuple[str, list[str]]]:
    """The images of an archive, which holds the annotation files and image folders of `PARTS` in any one folder.

    Returns:
      name -> (member of the archive, `2 * 68` strings x0, y0, ... in pixels), the training part first.

    Raises:
      UserError: an annotation file or an image is missing, or a row has not the published form; names it.
    """
    members = set(archive.namelist())
    images: dict[str, tuple[str, list[str]]] = {}
    for annotation, folder in PARTS.items():
        path = next((m for m in sorted(members) if PurePosixPath(m).name == annotation and "__MACOSX" not in m), None)
        if path is None:
            fault = f"{archive.filename} holds no {annotation}"
            raise UserError(f"{fault}; is it the archive of udacity/P1_Facial_Keypoints?")
        rows = csv.reader(io.StringIO(archive.read(path).decode("utf-8-sig"), newline=""))
        next(rows, None)
        for row in filter(None, rows):
            name, *values = row
            place = f"{archive.filename} {path} line {rows.line_num}"
            if len(values) != 2 * NUM_LANDMARKS or not NAME.fullmatch(name):
                wanted = f"PERSON_FRAME.jpg and {2 * NUM_LANDMARKS} coordinates"
                raise UserError(f"{place}: want {wanted}, got {len(row)} cells")
            member = str(PurePosixPath(path).with_name(folder) / name)
            if member not in members:
                raise UserError(f"{place}: the archive holds no {member}; fetch it anew")
            images.setdefault(name, (member, [f"{value:g}" for value in numbers(values, place)]))
    return images


def convert(archive: Path, folder: Path) -> dict[str, int]:
    """Writes the images and landmarks of a zip file as a `csv` data set; `folder` appears when all is written.

    Returns:
      split -> number of images.

    Raises:
      UserError: as `read_archive`; also a file that is no zip file, or an image that does not decode.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as file:
            counts = _write(file, read_archive(file), unfinished)
        unfinished.rename(folder)
    except zipfile.BadZipFile as error:
        raise UserError(f"{archive} is not a whole zip file ({error}); fetch it anew") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return counts


def _write(file: zipfile.ZipFile, images: Mapping[str, tuple[str, list[str]]], folder: Path) -> dict[str, int]:
    frames = {name: name.rpartition(".")[0].rpartition("_") for name in images}  # person, "_", frame: see NAME
    people = sorted({person for person, _, _ in frames.values()})
    header = ["image", *(f"{axis}{i}" for i in range(NUM_LANDMARKS) for axis in "xy")]
    tables = {"train": [header], "val": [header]}
    for split in tables:
        (folder / split).mkdir(parents=True)
    for name in tqdm(sorted(images), unit="image", desc="writing"):
        member, values = images[name]
        person, _, frame = frames[name]
        number = people.index(person)
        split = "train" if number % VALIDATION_EVERY else "val"
        stored = f"person{number:03d}_{frame}.jpg"
        try:
            with Image.open(io.BytesIO(file.read(member))) as image:
                pixels = image.convert("RGB")
        except OSError as error:
            fault = f"{file.filename} {member} is not a readable image ({error})"
            raise UserError(f"{fault}; fetch the archive anew") from None
        with writing(folder):
            pixels.save(folder / split / stored, quality=JPEG_QUALITY)
        tables[split].append([stored, *values])
    for split, table in tables.items():
        path = folder / f"{split}.csv"
        with writing(path), path.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out, lineterminator="\n").writerows(table)
    return {split: len(table) - 1 for split, table in tables.items()}


def fetch(data_dir: Path, sources: Sequence[str] = SOURCES) -> dict[str, int]:
    """Downloads and converts the archive from the first of `sources` that has it whole; see `convert`.

    Raises:
      ConnectionError: no source has it; says why and what to do by hand.
      OSError: the disk is full.
    """
    archive, reasons = data_dir / "ytfaces68.zip.part", []
    for url in sources:
        try:
            download(url, archive)
            return convert(archive, data_dir / "ytfaces68")
        except (OSError, ValueError) as error:  # urllib's errors are OSErrors
            if is_full_disk(error):
                raise OSError(f"{data_dir} has no room for the archive and its images; make room there") from error
            reasons.append(f"{url}: {getattr(error, 'reason', error)}")
        finally:
            archive.unlink(missing_ok=True)
    raise ConnectionError(
        f"the archive could not be fetched ({'; '.join(reasons)}); with a network try again, "
        "or download one of these elsewhere and pass it as --archive=FILE"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module's documentation."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data_dir", default=common.get_config().data_dir, help="directory of raw data sets")
    parser.add_argument("--archive", help="a zip file that is already here, instead of fetching one")
    options = parser.parse_args(arguments)
    data_dir = Path(options.data_dir).expanduser()
    folder, counts = data_dir / "ytfaces68", None
    with sentences():
        if not folder.exists():
            with Claim(data_dir / "ytfaces68.fetching.json", "the fetching of ytfaces68", wait=True):
                if not folder.exists():
                    archive = options.archive and Path(options.archive).expanduser()
                    counts = convert(archive, folder) if archive else fetch(data_dir)
    if counts is None:
        print(f"{folder} is there already; remove it to fetch it anew.")
    else:
        print(f"{folder}: " + ", ".join(f"{count} images in {split}" for split, count in counts.items()))


if __name__ == "__main__":
    main()
