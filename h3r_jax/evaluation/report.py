"""What an evaluation prints, writes and draws."""

import hashlib
import itertools
import json
import math
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from matplotlib.figure import Figure

from h3r_jax import codec, geometry, visualize
from h3r_jax.errors import UserError
from h3r_jax.evaluation.evaluator import Decoder, Evaluation, Evaluator, mean_pixel_error
from h3r_jax.evaluation.protocols import Protocol, Scores
from h3r_jax.files import read_json, write_json, writing
from h3r_jax.inference import Network

SHOWN = 8  # examples in each row of the sheet
# Fields of a result that say what was evaluated, and how. A result replaces an earlier one that has the same.
IDENTITY = ("dataset", "folder", "split", "protocol", "differs_from_run", "weights_sha256")
LONGEST_NAME = 120  # bytes, without the ending and what is added to it


def decoders(network: Network) -> dict[str, Decoder]:
    """The decoders that the table compares with the network's own, without those that need larger maps."""
    cells = math.prod(network.heatmap_shape)
    numbers = {"argmax": 1, "k=4": 4, "k=9": 9}

    def top(k: int) -> Decoder:
        decode = network.decoder(k=k, selection="top_k")
        return lambda maps: decode(maps).coordinates

    table = {name: top(k) for name, k in numbers.items() if k <= cells}
    table["quarter shift"] = lambda maps: codec.decode_quarter_shift(maps, stride=network.stride)
    own = decoder_name(network)
    return {name: table[name] for name in ("argmax", "quarter shift", "k=4", "k=9") if name in table and name != own}


def decoder_name(network: Network) -> str:
    """The network's own decoder, in a word."""
    selection = "" if network.selection == "top_k" else f" {network.selection}"
    return f"k={network.k}{selection}" + (f" {network.activation}" if network.instead_of else "")


def describe_split(split: Any) -> str:
    """The name of a split (data.pipeline.TrainInput or EvalInput), its examples, and whether some are missing."""
    return f"{split.name}, {split.num_examples} examples" + (f" ({split.incomplete})" if split.incomplete else "")


def describe_protocol(network: Network, protocol: Protocol, box: str) -> str:
    """The protocol in one line, to stand beside every figure; `box` is the kind of box that is cropped."""
    unit = ", ".join(
        f"{name or protocol.scheme.normalizers[0][0]} {protocol.scheme.normalizer(name)}"
        for name in protocol.normalizers or ("",)
    )
    maps = f'the "{network.logits}" maps' if network.head == "binary" else "the maps"
    maps += f" ({network.instead_of} belongs to the loss)" if network.instead_of else ""
    flip = f"averages {network.flip}" if network.flip else "off"
    thresholds = ", ".join(f"{value:g}" for value in protocol.thresholds)
    return (
        f"{protocol.metric}, box from {box} x {network.box_scale:g}, {network.crop} crop, "
        f"input {'x'.join(map(str, network.shape))}, {network.activation} of {maps}, normaliser {unit}"
        + (f", thresholds {thresholds}" if thresholds else "")
        + (f", subsets {', '.join(protocol.subsets)}" if protocol.subsets else "")
        + f", flip test {flip}"
    )


def table(evaluation: Evaluation, evaluator: Evaluator) -> str:
    """The lines that eval.py prints: one for each decoder, then one for each subset or group of landmarks."""
    own, network = decoder_name(evaluator.network), evaluator.network
    split, scores = evaluator.split, evaluation.scores
    names = [name for name in scores[""].metrics if "/" not in name]
    rows = []
    for decoder, score in scores.items():
        error = mean_pixel_error(evaluation.landmarks[decoder], split.annotations, split.matrices) / network.stride
        rows.append((decoder or own, [f"{error:.3f}", *(f"{score.metrics[name]:.3f}" for name in names)]))
    lines = _columns("decoder", ["cells", *names], rows)
    score = scores[""]
    parts = [*evaluator.protocol.subsets, *(name.partition("/")[2] for name in score.metrics if "/" in name)]
    if parts:
        lines += _part_lines(score, dict.fromkeys(parts))
    return "\n".join(lines)


def _part_lines(score: Scores, parts: Iterable[str]) -> list[str]:
    """One line for each subset or group of landmarks; "-" where there is no figure."""
    names = list(dict.fromkeys(name.partition("/")[0] for name in score.metrics if "/" in name))
    rows = []
    for part in parts:
        numbers = (score.metrics.get(f"{name}/{part}") for name in names)
        cells = ["-" if number is None else f"{number:.3f}" for number in numbers]
        rows.append((part, [str(score.counts.get(part, "")), *cells]))
    return _columns("part", ["count", *names], rows)


def _columns(first: str, names: list[str], rows: Iterable[tuple[str, list[str]]]) -> list[str]:
    widths = [8, *(max(10, len(name) + 2) for name in names[1:])]
    return [
        f"{head:<16}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths))
        for head, cells in [(first, names), *rows]
    ]


def prepare(workdir: str | os.PathLike) -> epath.Path:
    """The folder WORKDIR/eval, made if it is not there. To be called before the work: it tries to write there.

    Raises:
      OSError: the folder cannot be made or written to; names it.
    """
    place = epath.Path(workdir).expanduser() / "eval"
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
        probe = place / f".{uuid.uuid4().hex[:8]}"
        try:
            probe.write_text("This file may be removed.")
        finally:
            probe.unlink(missing_ok=True)
    return place


def publish(
    place: epath.Path,
    evaluation: Evaluation,
    evaluator: Evaluator,
    variables: dict,
    of_data: Mapping[str, str],
    box: str,
    differing: Mapping[str, tuple[Any, Any]],
    weights: str,
    weights_name: str,
) -> None:
    """Prints the results, and writes them.

    Args:
      of_data: the fields "dataset", "folder" and "split" of the results.
      box: the kind of box that is cropped.
      differing: field of the protocol -> its value in the run, and here.
      weights: a phrase that says which they are.
      place, evaluation, evaluator, variables, weights_name: as `write`, with its errors.
    """
    described, decoder = describe_protocol(evaluator.network, evaluator.protocol, box), decoder_name(evaluator.network)
    differs = "".join(f"; {field} is {here}, the run has {there}" for field, (there, here) in differing.items())
    print(f"{describe_split(evaluator.split)}; {weights}")
    print(f"protocol: {described}; decoder for the files: {decoder}{differs}")
    print(table(evaluation, evaluator))
    about = {**of_data, "protocol": f"{described}, decoder {decoder}, {weights}", "differs_from_run": differing}
    print(f"Wrote {', '.join(write(place, evaluation, evaluator, variables, about, weights_name))}")


def write(
    place: epath.Path,
    evaluation: Evaluation,
    evaluator: Evaluator,
    variables: dict,
    about: Mapping[str, Any],
    weights_name: str,
) -> list[str]:
    """Writes NAME.json and the pictures NAME-KIND.png, see `result_name`; each is there whole or not at all.

    Args:
      place: `prepare` of the workdir.
      evaluation, evaluator: the results, and what made them.
      variables: {"params", "batch_stats"} of the network.
      about: what the JSON says before its counts and metrics: the fields of `IDENTITY`, but for the last.
      weights_name: of the weights, a step or a file.

    Returns:
      The paths of the files.

    Raises:
      OSError: a file cannot be written; names it.
    """
    score = evaluation.scores[""]
    result = {
        **about,
        "weights_sha256": _digest(variables),
        "count": evaluator.split.num_examples,
        "official_count": evaluator.split.official_count,  # of the whole split, None if nobody says
        "subset_counts": score.counts,
        "metrics": {name: value if math.isfinite(value) else None for name, value in score.metrics.items()},
    }
    name = result_name(place, result, weights_name)
    files = [place / f"{name}.json"]
    write_json(files[0], result)
    for kind, figure in sheets(evaluation, evaluator, variables).items():
        files.append(place / f"{name}-{kind}.png")
        visualize.save(figure, files[-1])
    return [str(file) for file in files]


def result_name(place: epath.Path, result: Mapping[str, Any], weights_name: str) -> str:
    """DATASET-SPLIT-WEIGHTS, then -FIELD=VALUE for each field of the protocol that differs from the run's.

    If there is a file of that name in `place`, and it is not an earlier result of the same `IDENTITY`, the name ends in
    -2, -3 and so on.
    """
    fields = "".join(f"-{name.rpartition('.')[2]}={here}" for name, (_, here) in result["differs_from_run"].items())
    text = re.sub(r"[^\w.,+=-]", "", f"{result['dataset']}-{result['split']}-{weights_name}{fields}")
    base = text.encode()[:LONGEST_NAME].decode(errors="ignore")
    names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
    mine = json.loads(json.dumps({field: result[field] for field in IDENTITY}))
    return next(name for name in names if _is_free(place / f"{name}.json", mine))


def _is_free(file: epath.Path, mine: Mapping[str, Any]) -> bool:
    """Whether there is no such file, or it is a result of the same identity."""
    if not file.exists():
        return True
    try:
        theirs = read_json(file)
    except (UserError, OSError):
        return False
    return isinstance(theirs, dict) and mine == {field: theirs.get(field) for field in mine}


def _digest(variables: dict) -> str:
    """The SHA-256 of the names, types, shapes and bytes of all arrays."""
    digest = hashlib.sha256()
    for path, array in jax.tree_util.tree_leaves_with_path(jax.device_get(variables)):
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def sheets(evaluation: Evaluation, evaluator: Evaluator, variables: dict) -> dict[str, Figure]:
    """Pictures of an evaluation, by kind.

    overlays: one row of examples from the best to the median, and one row of the worst. Crosses are the truth; ellipses
      are two standard deviations of the prediction.
    heatmaps: the maps of the worst.
    curve: the cumulative error of every decoder; only for `nme`.

    One process draws them alone, so it uses its own copy of the variables.
    """
    split, network, score = evaluator.split, evaluator.network, evaluation.scores[""]
    order = np.argsort(score.per_example)
    worst = order[::-1][:SHOWN]
    typical = order[np.linspace(0, (len(order) - 1) // 2, len(worst)).astype(int)]
    shown = np.concatenate([typical, worst])
    images = next(split.canvases.batches([shown]))
    titles = [f"{100 * score.per_example[i]:.1f} %" for i in shown]
    last = slice(len(typical), None)
    overlays = visualize.landmark_sheet(
        images,
        geometry.transform_points(split.matrices[shown], evaluation.landmarks[""][shown]),
        weight=split.annotations.weight[shown],
        truth=geometry.transform_points(split.matrices[shown], split.annotations.landmarks[shown]),
        covariance=evaluation.covariance[shown],
        scheme=network.scheme,
        titles=titles,
        columns=len(worst),
    )
    logits = jax.jit(network.logit_maps)(jax.device_get(variables), images[last])
    mass = codec.relative_mass(logits, activation=network.activation, temperature=network.temperature)
    pictures = {
        "overlays": overlays,
        "heatmaps": visualize.heatmap_sheet(images[last], list(mass), titles=titles[last], columns=len(worst)),
    }
    if score.errors is not None:
        named = {name or decoder_name(network): each.errors for name, each in evaluation.scores.items() if each.errors}
        pictures["curve"] = visualize.cumulative_error_curve(named, max(evaluator.protocol.thresholds))
    return pictures
