"""What a predictor takes from a run, from files made of it, and from the files of others."""

import functools
import json

import jax
import numpy as np
import optax
import pytest

from configs import common
from h3r_jax import convert, geometry, load_predictor, models
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.run import Run
from h3r_jax.training import checkpoints
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import create_state


def make_config():
    """A recipe that differs from every default of a predictor."""
    config = common.get_config()
    config.landmarks.scheme = "phantom23"
    config.model.head = "binary"
    config.model.input_size = (64, 96)
    config.model.stride = 8
    config.loss.name = "binary_cross_entropy"
    config.data.box_scale = 1.5
    config.eval.k = 4
    config.eval.selection = "neighbours"
    config.eval.flip = "heatmaps"
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir with steps 1 and 2, and the averages of both."""
    workdir = tmp_path_factory.mktemp("run") / "work"
    config = make_config()
    Run(workdir).write_config(json.loads(config.to_json()))
    network = Recipe.from_config(config).network
    saved = checkpoints.Checkpoints(Run(workdir), keep=3)
    variables = jax.tree.map(np.asarray, network.initialize(0))
    averages = {}
    for step in (1, 2):
        shift = np.float32(0.25 * step)  # tells the average apart from the parameters, and the steps from each other
        averages[step] = jax.tree.map(functools.partial(np.add, shift), variables)
        state = create_state(variables, optax.identity(), keep_average=True)
        saved.save(state.replace(step=jax.numpy.int32(step), average=averages[step]), {"nme": float(step)})
    saved.close()
    return workdir, network, averages


def assert_same_weights(predictor, variables):
    jax.tree.map(np.testing.assert_array_equal, predictor.variables, variables)


def test_a_run_and_what_is_made_of_it(run, tmp_path):
    workdir, trained, averages = run
    predictor = load_predictor(workdir)
    assert_same_weights(predictor, averages[2])
    assert predictor.description == "moving average of the parameters at step 2"
    network = predictor.network
    assert network == trained
    found = [
        getattr(network, name) for name in ("head", "logits", "activation", "k", "selection", "flip", "shape", "stride")
    ]
    assert found == ["binary", "difference", "sigmoid", 4, "neighbours", "heatmaps", (64, 96), 8]
    assert network.box_scale == 1.5 and network.crop == "exact"

    convert.convert_weights(workdir / "checkpoints" / "1", tmp_path / "one.safetensors")
    convert.convert_weights(tmp_path / "one.safetensors", tmp_path / "two")
    for source in (workdir / "checkpoints" / "1", tmp_path / "one.safetensors", tmp_path / "two"):
        other = load_predictor(str(source))
        assert_same_weights(other, averages[1])
        assert other.network == network

    changed = load_predictor(workdir, flip="", k=9, selection="top_k", input_size=128).network
    assert (changed.flip, changed.k, changed.shape, changed.stride) == ("", 9, (128, 128), 8)
    # As networks for human pose are evaluated: values of a Gaussian, averaged as they are.
    assert load_predictor(workdir, activation="identity").network.flip == "heatmaps"


def test_what_a_run_refuses(run, tmp_path):
    workdir, _, _ = run
    for options, message in (
        ({"model": "hrnet_w18"}, "is a run with model mobilenet_v2; hrnet_w18 was asked for"),
        ({"landmarks": 68}, "is a run with landmarks 23; 68 was asked for"),
        ({"scheme": "ibug68"}, "the network has 23 landmarks, scheme ibug68 has 68"),
        ({"size": 128}, "unknown setting 'size'; known are activation, box_scale"),
        ({"crop": "rough"}, "unknown crop 'rough'; known are 'exact', 'reference'"),
        ({"crop": "reference"}, 'the crop "reference" is square, but the input is 64x96'),
        ({"input_size": 100}, "not a multiple of stride 8"),
        ({"max_batch": 0}, "max_batch=0 must be positive"),
        ({"input_size": 72}, "H and W multiples of 16, got"),
        ({"k": 10000, "selection": "top_k"}, "k=10000 cells cannot be chosen from a map of 8x12"),
    ):
        with pytest.raises(ValueError, match=message):
            load_predictor(workdir, **options)
    with pytest.raises(FileNotFoundError, match=r"holds steps \[1, 2\], not 7"):
        load_predictor(workdir / "checkpoints" / "7")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_predictor(tmp_path / "nowhere")
    old = json.loads((workdir / "config.json").read_text())
    del old["eval"]["k"]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text(json.dumps(old))
    with pytest.raises(ValueError, match="old/config.json: config.eval.k is missing"):
        load_predictor(tmp_path / "old")
    for damaged in (b'{"model": ', b"\xff\xfe{}", b"[1]"):
        (tmp_path / "old" / "config.json").write_bytes(damaged)
        with pytest.raises(ValueError, match="old/config.json is damaged: it is "):
            load_predictor(tmp_path / "old")


def write_weights(path, landmarks, head="binary"):
    """A network with weights alone, as others store it."""
    safetensors = pytest.importorskip("safetensors.numpy")
    model = models.build("mobilenet_v2", landmarks, head=head)
    variables = models.initialize(model, 0, (64, 64, 3))
    spec = convert.Spec("mobilenet_v2", head, landmarks, "h3r")
    safetensors.save_file(convert.to_torch(variables, spec), path)
    return path


def test_files_of_others(tmp_path):
    path = write_weights(tmp_path / "five.safetensors", 5)
    network = load_predictor(path).network
    assert (network.head, network.logits, network.activation, network.k) == ("binary", "on", "softmax", 9)
    assert (network.shape, network.stride, network.box_scale, network.crop) == ((256, 256), 4, 1.25, "exact")
    assert network.scheme.mirror == tuple(range(5)) and not network.flip
    with pytest.raises(ValueError, match="flip needs the mirror order of the 5 landmarks; give a scheme"):
        load_predictor(path, flip="coordinates")
    own = LandmarkScheme("own", 5, (1, 0, 2, 4, 3), (("eyes", (0, 1)),))
    assert (
        load_predictor(path, scheme=own, flip="coordinates", logits="difference", activation="sigmoid").network.scheme
        is own
    )
    assert load_predictor(path, landmarks=10).network.head == "heatmap"
    assert load_predictor(write_weights(tmp_path / "68.safetensors", 68)).network.scheme.name == "ibug68"


def test_the_third_party_checkpoint(shared_data):
    """NME, in percent of the distance 66 to 79, as tests/test_reference_crop.py has it for our crop."""
    pytest.importorskip("torch")
    path = shared_data / "checkpoints" / "lapa106_mobilenetv2_256x256.pth.tar"
    images = [shared_data / "lapa" / "test" / "images" / f"{name}.jpg" for name in ("10773046825_0", "13609937564_5")]
    truth = [np.loadtxt(image.parents[1] / "landmarks" / f"{image.stem}.txt", skiprows=1) for image in images]
    predictor = load_predictor(path, max_batch=2, devices=jax.devices()[:1])
    assert predictor.network.scheme.name == "lapa106"
    results = predictor(images, [geometry.landmark_box(landmarks) for landmarks in truth])
    for result, landmarks, nme in zip(results, truth, (0.95, 2.37)):
        error = np.linalg.norm(result.landmarks[0] - landmarks, axis=-1).mean()
        assert 100 * error / np.linalg.norm(landmarks[66] - landmarks[79]) == pytest.approx(nme, abs=0.03)
        deviation = np.sqrt(np.trace(result.covariance[0], axis1=-2, axis2=-1)).mean()
        assert 0.5 * error < deviation < 10 * error
