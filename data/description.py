"""What a data set of one's own says about its landmarks: how many there are, their names, their mirror order, the unit.

The files of a data set `coco_file` have names, from which the mirror order is worked out, and lines that join
landmarks. The folder of a data set `csv` may hold, beside its CSV files, the file

    landmarks.json    "mirror": landmark i of a mirrored image is landmark mirror[i]
                      "names": of the landmarks, from which a missing mirror order is worked out
                      "unit": two landmarks whose distance is the unit of the error

Each entry may be absent.
"""

from typing import Any, NamedTuple

from etils import epath

from data import coco_file, csv_landmarks, parsing
from data.labels import mirror_of
from h3r_jax.errors import UserError

NAME = "landmarks.json"
SIGMA = 0.05  # of a landmark whose sigma nobody says: COCO's are from 0.025 (eyes) to 0.107 (hips)


class Description(NamedTuple):
    """What is said.

    num_landmarks: K. names: K of them, or (). mirror: K indices, or () if nobody says. unit: two indices, or ().
    connections: pairs of landmarks that a picture joins. sigmas: K of COCO's similarity, or ().
    """

    num_landmarks: int
    names: tuple[str, ...]
    mirror: tuple[int, ...]
    unit: tuple[int, ...] = ()
    connections: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()


def of_coco(folder: epath.Path) -> Description:
    """The Description of the folder of a data set `coco_file`; without sigmas in the file they are `SIGMA`.

    Raises:
      UserError, FileNotFoundError: as `data.coco_file.first_class`.
    """
    _, found = coco_file.first_class(folder)
    sigmas = found.sigmas or (SIGMA,) * len(found.names)
    return Description(len(found.names), found.names, mirror_of(found.names), (), found.skeleton, sigmas)


def of_csv(folder: epath.Path) -> Description:
    """The Description of the folder of a data set `csv`; K is the number of columns x0, x1, ... of a CSV file.

    Raises:
      UserError: a file is not as it should be; names it and the entry.
      FileNotFoundError: there is no CSV file.
    """
    paths = [path for split in ("train", "val", "test") if parsing.is_there(path := folder / f"{split}.csv")]
    if not paths:
        raise FileNotFoundError(f"{folder} holds none of train.csv, val.csv, test.csv; is config.data_dir right?")
    header = csv_landmarks.read_header(paths[0])
    count = next(i for i in range(len(header) + 1) if f"x{i}" not in header)
    path = folder / NAME
    content = parsing.read_json(path, dict) if parsing.is_there(path) else {}
    if unknown := sorted(content.keys() - {"names", "mirror", "unit"}):
        raise UserError(f"{path}: unknown entry {unknown[0]!r}; want names, mirror, unit")
    names = _entry(path, content, "names", str, (0, count))
    mirror = _entry(path, content, "mirror", int, (0, count)) or (mirror_of(names) if names else ())
    if count == 1:
        mirror = (0,)
    return Description(count, names, mirror, _entry(path, content, "unit", int, (0, 2)))


def _entry(path: epath.Path, content: dict[str, Any], name: str, kind: type, counts: tuple[int, ...]) -> tuple:
    values = content.get(name, [])
    right = isinstance(values, list) and len(values) in counts
    if not right or any(not isinstance(value, kind) or isinstance(value, bool) for value in values):
        wanted = "texts" if kind is str else "whole numbers"
        raise UserError(f"{path}: {name} is {values!r}; want a list of {counts[-1]} {wanted}")
    return tuple(values)


DESCRIBERS = {"csv": of_csv, "coco_file": of_coco}  # by the name of the data set
