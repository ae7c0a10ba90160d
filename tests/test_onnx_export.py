"""ONNX: the forms that are converted compute the same, and onnxruntime finds what the network finds.

The second half needs requirements-onnx.txt, in an environment of its own: `python -m pytest tests/test_onnx_export.py`.
"""

import dataclasses
import sys

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from h3r_jax import codec, export, models, onnx_export
from h3r_jax.errors import UserError
from h3r_jax.inference import make_network
from h3r_jax.landmarks import LandmarkScheme
from h3r_jax.landmarks.scheme import BOX
from h3r_jax.predict import Predictor, load_predictor
from tests import pages
from tests.exporting import IMAGES, SHAPE, TOLERANCE, Small, more_backbones, variables_of  # noqa: F401  (a fixture)

SCHEME = LandmarkScheme("plain", 6, (1, 0, 2, 3, 5, 4), (("box", BOX),))
CASES = [
    {},
    {"head": "binary", "activation": "sigmoid", "k": 4, "selection": "neighbours"},
    {"head": "binary", "logits": "on", "flip": "heatmaps", "k": 128},
    {"head": "facial", "activation": "identity", "flip": "coordinates"},
    {"model": "tiny_hrnet", "temperature": 2.0},
    {"model": "mobilenet_v2", "stride": 8, "k": 1},
]
_, _, RUN_ONNX = pages.python_blocks(pages.EXPORT)


def predictor_of(model="small", head="heatmap", dtype="float32", **settings):
    network = make_network(model, SCHEME, input_size=SHAPE, head=head, dtype=dtype, **settings)
    return Predictor(network, variables_of(model, SCHEME.num_landmarks, head), "made up", devices=jax.devices()[:1])


def compare(found, expected):
    assert set(found) == {"landmarks", "confidence"}
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_forms_that_are_converted_compute_the_same(case):
    function = export.landmark_function(predictor_of(**case))
    expected = jax.jit(function)(IMAGES)
    originals = [getattr(*place) for place in onnx_export.FORMS]
    with onnx_export.convertible():
        assert not set(originals) & {getattr(*place) for place in onnx_export.FORMS}
        jaxpr = jax.make_jaxpr(function)(IMAGES)
    assert originals == [getattr(*place) for place in onnx_export.FORMS]
    assert "platform_index" not in str(jaxpr)
    confidence, landmarks = jax.jit(jax.extend.core.jaxpr_as_fun(jaxpr))(IMAGES)
    compare({"landmarks": landmarks, "confidence": confidence}, expected)


def test_the_strongest_cells_are_the_same_with_equal_values():
    maps = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 40, 3)).astype(np.float32))
    with onnx_export.convertible():
        found = codec.decode(maps.reshape(2, 8, 5, 3), k=7)
    np.testing.assert_allclose(found, codec.decode(maps.reshape(2, 8, 5, 3), k=7), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "flags", "form"),
    [("a.onnx", [], "onnx"), ("a", ["--format=onnx"], "onnx"), ("a.onnx", ["--format=stablehlo"], "stablehlo")],
)
def test_the_name_or_the_flag_chooses_the_format(tmp_path, monkeypatch, capsys, name, flags, form):
    asked = {}

    def load(source, **settings):
        asked.update(settings)
        return predictor_of()

    def write(path, predictor, *, overwrite):
        (tmp_path / name).write_text("content")
        asked["overwrite"] = overwrite

    monkeypatch.setattr(export, "load_predictor", load)
    monkeypatch.setitem(export.FORMATS, form, write)
    export.main(["faces68", str(tmp_path / name), *flags])
    assert asked.get("dtype") == ("float32" if form == "onnx" else None) and not asked["overwrite"]
    assert "\nSHA-256 ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73\n" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["jax2onnx", "onnxruntime"])
def test_a_missing_converter_is_named(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as stop:
        export.main(["faces68", str(tmp_path / "a.onnx")])
    assert str(stop.value) == (
        "error: the format onnx needs jax2onnx and onnxruntime, in an environment of its own: "
        "pip install -r requirements-onnx.txt"
    )
    assert not list(tmp_path.iterdir())


@pytest.fixture
def runtime():
    """onnxruntime, where the converter is installed too."""
    for name in ("jax2onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is missing: requirements-onnx.txt is not installed")
    import onnxruntime

    return onnxruntime


@pytest.mark.parametrize("case", CASES, ids=str)
def test_onnxruntime_finds_what_the_network_finds(tmp_path, runtime, case):
    predictor = predictor_of(**case)
    export.write_onnx(tmp_path / "a.onnx", predictor)
    session = runtime.InferenceSession(tmp_path / "a.onnx")
    (images,), outputs = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["b", *SHAPE, 3])
    assert [(output.name, output.shape) for output in outputs] == [("landmarks", ["b", 6, 2]), ("confidence", ["b", 6])]
    assert session.get_modelmeta().description == f"made up; {predictor.network}"
    for count in (1, len(IMAGES)):
        expected = jax.jit(export.landmark_function(predictor))(IMAGES[:count])  # after the export, in this process
        assert case.get("flip") or float(np.std(expected["landmarks"])) > 1, "or the comparison means little"
        landmarks, confidence = session.run(["landmarks", "confidence"], {"images": IMAGES[:count]})
        compare({"landmarks": landmarks, "confidence": confidence}, expected)


def test_the_program_of_the_page_runs(tmp_path, monkeypatch, runtime, capsys):
    export.main(["faces68", str(tmp_path / "network.onnx")])
    assert "\nSHA-256 " in capsys.readouterr().out
    crops = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    np.save(tmp_path / "crops.npy", crops)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(compile(RUN_ONNX, pages.EXPORT, "exec"), found)  # noqa: S102  (the page is ours)
    expected = jax.jit(export.landmark_function(load_predictor()))(crops)
    compare({name: found[name] for name in ("landmarks", "confidence")}, expected)


class Unknown(Small):
    """A backbone with an operation that the converter does not know."""

    def __call__(self, images, train):
        dimmed = jax.lax.reduce(images, np.float32(0), lambda sum_, value: sum_ / 2 + value, (3,))
        return super().__call__(images + dimmed[..., None], train)


def test_a_network_that_cannot_be_converted_is_refused(tmp_path, monkeypatch, runtime):
    monkeypatch.setitem(models.BACKBONES, "unknown", Unknown)
    other = predictor_of()
    other.network = dataclasses.replace(other.network, model=models.build("unknown", 6))
    for predictor, reason in ((other, "reduce"), (predictor_of(dtype="bfloat16"), "bfloat16")):
        with pytest.raises(UserError, match=rf"cannot convert this network \(.*{reason}.*\); want --format=stablehlo"):
            export.write_onnx(tmp_path / "a.onnx", predictor)
    assert not list(tmp_path.iterdir())
