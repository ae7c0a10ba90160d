"""The commands in the fenced blocks of the documentation, page after page, in one place, as a newcomer types them.

The page about one's own data is followed to the letter. Trainings of other pages are made shorter and smaller.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from h3r_jax import convert, models
from tests.data import test_lapa, test_wflw
from tests.data.faces import dotted, save
from tests.data.made_up import texture, write_split
from tests.pages import CODEC, EXPORT, FROM_PYTHON, PAGES, PREDICT, ROOT, command_blocks, python_blocks

DOCS = ROOT / "docs"
README, OWN_DATA, CONTRIBUTING = ROOT / "README.md", DOCS / "own_data.md", DOCS / "contributing.md"
WEIGHTS = DOCS / "weights.md"
SMALLER = {"model.name": "mobilenet_v2", "model.input_size": "(32, 32)", "train.batch_size": 16, "eval.batch_size": 16}
SHORTER = {"train.epochs": 1.0}

pytestmark = pytest.mark.slow


def type_in(place, block, **changes):
    """Runs a block of commands as printed; `changes` are fields that train.py and eval.py are given besides."""
    fields = " ".join(f"'--config.{name}={value}'" for name, value in changes.items())
    script = f"""set -euo pipefail
    python() {{ case "$1" in train.py|eval.py) command python "$@" {fields};; *) command python "$@";; esac; }}
    {block}"""
    environment = os.environ | {
        "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"])),
        "PYTHONPATH": os.fspath(ROOT),
        "H3R_DATA": os.fspath(place),
        "H3R_PREPARED": os.fspath(place / "prepared"),
        # A newcomer has one device. It also compiles and runs faster than the eight that other tests have.
        "XLA_FLAGS": "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE",
    }
    result = subprocess.run(
        ["bash", "-c", script], cwd=place, env=environment, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, f"{block}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with the repository's files, in which the pages may write."""
    place = tmp_path_factory.mktemp("newcomer")
    for name in ("train.py", "eval.py", "configs", "data", "h3r_jax", "benchmarks", "examples"):
        (place / name).symlink_to(ROOT / name)
    return place


@pytest.fixture(scope="module")
def trained(place):
    """What the page about one's own data printed."""
    (making,) = python_blocks(OWN_DATA)
    subprocess.run([sys.executable, "-c", making], cwd=place, check=True)
    (block,) = command_blocks(OWN_DATA)
    return type_in(place, block)


@pytest.fixture(scope="module")
def faces68(place):
    """The run `runs/ytfaces68` that pages speak of, on made-up images; its last step."""
    for split, count in (("train", 16), ("val", 4)):
        images, landmarks = zip(*(dotted(seed, 68) for seed in range(count)))
        write_split(place / "ytfaces68", split, images, landmarks)
    type_in(
        place,
        "python train.py --config=configs/ytfaces68.py:mobilenet_v2_128 --workdir=runs/ytfaces68",
        **SMALLER,
        **SHORTER,
    )
    return "1"


@pytest.fixture(scope="module")
def images(place, trained):
    """Images, a film, boxes and networks of others, under the names that the pages give them."""
    cv2 = pytest.importorskip("cv2")
    torch = pytest.importorskip("torch")
    for path, number in (("photos/1.png", 1), ("a.jpg", 2), ("b.jpg", 3), ("val2017/000000000139.jpg", 4)):
        (place / path).parent.mkdir(exist_ok=True)
        with Image.open(place / "triangles" / "val" / f"{number}.png") as image:
            image.save(place / path)
    shutil.copy(f"{matplotlib.get_data_path()}/sample_data/grace_hopper.jpg", place / "photo.jpg")
    writer = cv2.VideoWriter(os.fspath(place / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (160, 140))
    for frame in range(2):
        writer.write(texture(frame, 140, 160))
    writer.release()
    (place / "boxes.csv").write_text("image,x0,y0,x1,y1\na.jpg,30,30,170,180\nb.jpg,30,30,170,180\n")
    person = {"image_id": 139, "category_id": 1, "bbox": [30, 30, 140, 150], "score": 0.9}
    (place / "detections.json").write_text(json.dumps([person, person | {"score": 0.1}]))
    for path, spec in {
        "h3r.pth": convert.Spec("mobilenet_v2", "binary", 68, "h3r"),
        "pose_hrnet_w32.pth": convert.Spec("hrnet_w32_pose", "pose", 17, "pose"),
        "lapa106.pth.tar": convert.Spec("mobilenet_v2", "binary", 106, "h3r"),
    }.items():
        model = models.build(spec.model, spec.landmarks, head=spec.head)
        tensors = convert.to_torch(models.initialize(model, 0, (64, 64, 3)), spec)
        torch.save({name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}, place / path)
    shutil.copy(place / "h3r.pth", place / "model.pth")


def test_own_data(place, trained):
    (scores,) = (place / "runs" / "triangles" / "eval").glob("*.json")
    assert "k=9" in trained and json.loads(scores.read_text())["metrics"]["nme"] < 3


def test_readme(place, trained, images, faces68):
    quickstart, tests, own_data, literature, prediction, exporting = command_blocks(README)
    assert tests.endswith("-m pytest\n")  # which is how this runs
    scripts = [part.replace(".venv/bin/", "") for part in quickstart.split("&&") if ".py" in part]
    type_in(place, "&&".join(scripts), **SMALLER, **{"train.epochs": 0.1})

    # The page about one's own data, which is followed to the letter, has these commands with names of its own.
    (followed,) = command_blocks(OWN_DATA)
    for command in own_data.replace("\\\n", " ").splitlines():
        words = command.replace("DIR", ".").replace("FOLDER", "triangles").replace("mine", "triangles").split()
        assert set(words) - {"--config.landmarks.mirror='(1,", "0,", "2)'"} <= set(followed.split())

    for number in range(2):
        save(dotted(number, 98)[0], place / "wflw" / "WFLW_images" / "1--Parade" / f"1_Parade_{number}.jpg")
    for split, count in (("train", 60), ("test", 4)):
        path = place / "wflw" / test_wflw.LIST.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((test_wflw.line(dotted(0, 98)[1]) + "\n") * count)
    assert "train 60 of 7500: this copy is not complete" in type_in(
        place, literature.replace("DIR", "."), **SMALLER, **SHORTER
    )

    type_in(place, prediction)  # and finds no face in triangles
    assert (place / "found" / "photo.jpg.png").exists() and (place / "found_mine" / "film.mp4").exists()
    last = max(
        int(step.name) for step in (place / "runs" / "triangles" / "checkpoints").iterdir() if step.name.isdigit()
    )
    type_in(place, exporting.replace("mine", "triangles").replace("STEP", str(last)))
    assert (place / "network.stablehlo").stat().st_size > 1e6
    (place / "network.stablehlo").unlink()


def test_prediction(place, images, faces68):
    (block,) = command_blocks(PREDICT)
    shutil.rmtree(place / "found", ignore_errors=True)  # of the README
    records = [json.loads(line) for line in type_in(place, block).splitlines() if line.startswith("{")]
    assert [record["image"] for record in records] == ["a.jpg", "b.jpg", "val2017/000000000139.jpg"]
    assert (place / "found_film" / "film.mp4").exists()


def test_export(place, images, faces68):
    run, weights = command_blocks(EXPORT)
    type_in(place, run.replace("STEP", faces68))
    (place / "network.stablehlo").unlink()
    type_in(place, weights)


def test_weights(place, images, faces68):
    converting, evaluating, starting = command_blocks(WEIGHTS)
    type_in(place, converting.replace("STEP", faces68))
    assert (place / "ytfaces68.safetensors").exists()

    test_lapa.face(place / "lapa", "test", "1_0", 0)
    assert "reference crop" in type_in(place, evaluating.replace("DIR", "."), **SMALLER)

    assert "1 starting fresh" in type_in(place, starting, **SMALLER, **{"train.epochs": 0.1})


def test_codec(place):
    (block,) = command_blocks(CODEC)
    printed = type_in(place, block)
    errors = [float(error) for error in re.findall(r"mean error ([\d.]+) pixels", printed)]
    assert len(errors) == 3 and max(errors) < 0.3 and "voxels" in printed, printed


def test_python(place):
    """Training, evaluation and prediction in one process."""
    (block,) = command_blocks(FROM_PYTHON)
    printed = type_in(place, block)
    step, nme, landmarks = re.search(r"^(\d+) ([\d.]+) \[\[\[(.+)\]\]\]$", printed, re.MULTILINE | re.DOTALL).groups()
    assert step == "20" and float(nme) > 0 and len(re.findall(r"[^][\s]+", landmarks)) == 2 * 23
    assert (place / "runs" / "twenty" / "checkpoints" / "20").exists()


def test_there_are_no_other_blocks():
    assert {page for page in PAGES if command_blocks(page)} == {
        README,
        OWN_DATA,
        CONTRIBUTING,
        CODEC,
        PREDICT,
        EXPORT,
        WEIGHTS,
        FROM_PYTHON,
    }
