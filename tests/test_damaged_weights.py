"""Files of weights that are damaged, or that hold what no network can work with: refused in a sentence, or noted."""

import functools
import json
import shutil
import zipfile

import jax
import numpy as np
import pytest

from configs import common
from h3r_jax import convert, digests
from h3r_jax.convert import __main__ as command
from h3r_jax.convert import files

torch = pytest.importorskip("torch")
safetensors_numpy = pytest.importorskip("safetensors.numpy")
from tests.converting import flips, refused, save_torch, state, tiny_backbones  # noqa: F401  (a fixture)

WEIGHT, VARIANCE, COUNTER = "final_layer.weight", "bn1.running_var", "bn1.num_batches_tracked"
CONFIG = json.loads(common.get_config().to_json())
CONFIG["eval"]["k"] = 9  # a number to change
FORMS = ["a.pth", "a.safetensors", "a"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("good")


@functools.cache
def make(place):
    variables, spec, report = convert.read(save_torch(place / "a.pth", state("pose")))
    files.write_directory(place / "a", variables, spec, "a run", report, CONFIG)
    files.write_safetensors(place / "a.safetensors", convert.to_torch(variables, spec), spec, CONFIG)
    return place


@pytest.fixture
def good(tmp_path, place, tiny_backbones):  # noqa: F811  (it needs them)
    """One network in every form of file; a copy that a test may damage."""
    return shutil.copytree(make(place), tmp_path / "good")


def flip(path, position, bit=1):
    content = bytearray(path.read_bytes())
    content[position] ^= bit
    path.write_bytes(content)


# ---- Damage.


@pytest.mark.trial("A3")
@pytest.mark.parametrize("member, position", [("data/0", 0), ("data/5", 40), ("data/190", -1), ("data.pkl", 99)])
def test_a_member_of_a_pth_that_does_not_fit_its_checksum_is_named(good, member, position):
    path = good / "a.pth"
    with zipfile.ZipFile(path) as archive:
        data = archive.read(f"a/{member}")
    flip(path, path.read_bytes().index(data) + position % len(data))
    assert f"is damaged in its member a/{member} (it does not fit its checksum): fetch or copy" in refused(path)


@pytest.mark.trial("A3")
def test_a_member_that_torch_takes_for_a_folder_is_found(good):
    """One bit of the table of members: torch then reads nothing for it, and leaves the memory as it was."""
    path = good / "a.pth"
    content = path.read_bytes()
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"a/data/77"))
    flip(path, entry + 38, 0x10)
    assert "is damaged in its member a/data/77 (no file)" in refused(path)


@pytest.mark.trial("A3")
def test_an_archive_that_becomes_too_large_is_not_unpacked(good):
    with zipfile.ZipFile(good / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10_000_000))
    assert "its members become too large when they are unpacked" in refused(good / "bomb.pth")


@pytest.mark.trial("A3")
@pytest.mark.parametrize("text", [b'"BOOL"', b'\\"k\\": 9', b'"h3r_jax_sha256":"', b"data"])
def test_a_safetensors_file_that_does_not_fit_its_digest_is_refused(good, text):
    """A type, the configuration, the digest, a value."""
    path = good / "a.safetensors"
    content = path.read_bytes()
    if text == b'"BOOL"':
        path.write_bytes(content.replace(b'bn1.bias":{"dtype":"F32"', b'bn1.bias":{"dtype":"I32"', 1))
    else:
        flip(path, len(content) - 9 if text == b"data" else content.index(text) + len(text) - (text[-1:] != b'"'))
    assert "it does not fit its digest; convert it anew, or fetch it again" in refused(path)


def damage(folder, what):
    data = max((folder / "variables").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    match what:
        case "a value":
            flip(data, data.stat().st_size // 2)
        case "the description":
            text = (folder / "model.json").read_text()
            (folder / "model.json").write_text(text.replace('"k": 9', '"k": 8'))
        case "a file is gone":
            data.unlink()
        case "a file is empty":
            data.write_bytes(b"")
        case "a file more":
            (data.parent / "more").write_text("x")
        case "the digests":
            flip(folder / digests.NAME, 3)
        case "the digests are empty":
            (folder / digests.NAME).write_text("")


@pytest.mark.trial("A3")
@pytest.mark.parametrize(
    "what",
    ["a value", "the description", "a file is gone", "a file is empty", "a file more", "the digests",
     "the digests are empty"],
)  # fmt: skip
def test_a_directory_that_does_not_fit_its_digests_is_refused(good, what):
    damage(good / "a", what)
    assert "a is damaged (" in (message := refused(good / "a")) and "; convert it anew, or fetch it again" in message


@pytest.mark.trial("A3")
@pytest.mark.parametrize("form", FORMS)
def test_every_flipped_bit_that_changes_what_is_read_is_found(good, form):
    found, same = flips(good / form, 60)
    assert found + same == 60 and found > 40


@pytest.mark.trial("A3")
@pytest.mark.parametrize("form", ["old.pth", "theirs.safetensors", "a"])
def test_what_cannot_be_verified_is_said(good, form):
    tensors = {name: torch.from_numpy(np.array(tensor)) for name, tensor in state("pose").items()}
    torch.save(tensors, good / "old.pth", _use_new_zipfile_serialization=False)
    safetensors_numpy.save_file(state("pose"), good / "theirs.safetensors")
    (good / "a" / digests.NAME).unlink()
    variables, _, report = convert.read(good / form)
    assert len([note for note in report.notes if "whether it is damaged cannot be verified" in note]) == 1
    whole, _, report = convert.read(good / "a.pth")
    assert not report.notes
    jax.tree.map(np.testing.assert_array_equal, variables, whole)


DESCRIPTIONS = {
    "empty": "",
    "cut": '{"model": "ti',
    "a list": "[1, 2]",
    "text": '"tiny_pose"',
    "no fields": "{}",
    "model": {"model": ["tiny_pose"]},
    "unknown": {"model": "resnet"},
    "head": {"head": {"x": 1}},
    "landmarks": {"landmarks": "5"},
    "a fraction": {"landmarks": 5.5},
    "none": {"landmarks": 0},
    "naming": {"naming": None},
    "counters": {"batches_tracked": {"bn1": "many"}},
    "huge": {"batches_tracked": 2**70},
    "config": {"config": [1]},
    "config of nothing": {"config": {}},
}


@pytest.mark.trial("B4")
@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_a_description_of_another_form_is_refused_by_name(good, case):
    """Without digests, which would be the first to say so."""
    (good / "a" / digests.NAME).unlink()
    file, changes = good / "a" / "model.json", DESCRIPTIONS[case]
    whole = json.loads(file.read_text())
    file.write_text(changes if isinstance(changes, str) else json.dumps({**whole, **changes}))
    message = refused(good / "a")
    assert "model.json" in message or "it is not the configuration of a run" in message


@pytest.mark.trial("D")
@pytest.mark.parametrize(
    "key, text",
    [
        (files.METADATA, "no JSON"),
        (files.METADATA, "[" * 100_000),
        (files.METADATA, "[]"),
        (files.METADATA, '{"model": 3}'),
        (files.METADATA, '{"model": "tiny_pose", "head": "pose", "landmarks": true}'),
        (files.METADATA_CONFIG, "{"),
        (files.METADATA_CONFIG, "[]"),
        (files.METADATA_CONFIG, '{"model": 3}'),
    ],
)
def test_a_header_of_another_form_is_refused_by_name(good, key, text):
    safetensors_numpy.save_file(state("pose"), good / "b.safetensors", metadata={key: text})
    message = refused(good / "b.safetensors")
    assert key in message or "it is not the configuration of a run" in message


# ---- Values.


def with_value(name, value, dtype=np.float32):
    tensor = state("pose")[name].astype(dtype)
    tensor.flat[0] = value
    return {name: tensor}


REFUSED = {
    "nan": (with_value(WEIGHT, np.nan), f"1 not finite: {WEIGHT} (1 of 20 values)"),
    "infinite": (with_value(VARIANCE, np.inf), "1 not finite: bn1.running_var (1 of "),
    "minus infinity in half": (with_value(WEIGHT, -np.inf, np.float16), f"1 not finite: {WEIGHT}"),
    "negative variance": (with_value(VARIANCE, -1e-6), "1 with variances below zero: bn1.running_var (1 of "),
    "beyond float32": (with_value(WEIGHT, 1e39, np.float64), f"1 beyond the range of float32: {WEIGHT}"),
    "complex": (with_value(WEIGHT, 1j, np.complex64), f"1 of another type than floats: {WEIGHT} complex64"),
    "integers": (with_value(WEIGHT, 3, np.int64), f"1 of another type than floats: {WEIGHT} int64"),
    "bytes": (with_value(VARIANCE, 3, np.uint8), "1 of another type than floats: bn1.running_var uint8"),
    "truth values": (with_value(VARIANCE, True, bool), "1 of another type than floats: bn1.running_var bool"),
    "counter of a half": ({COUNTER: np.asarray(0.5)}, f"{COUNTER} is 0.5; want a count of training steps"),
    "counter of nan": ({COUNTER: np.asarray(np.nan)}, f"{COUNTER} is nan; want a count"),
    "counter below zero": ({COUNTER: np.asarray(-1)}, f"{COUNTER} is -1; want a count"),
    "several counts": ({COUNTER: np.zeros(3, np.int64)}, f"{COUNTER} is (3,); want a count"),
}


@pytest.mark.trial("C7")
@pytest.mark.parametrize("case", REFUSED)
def test_values_that_no_network_can_work_with_are_refused(tmp_path, case):
    changes, sentence = REFUSED[case]
    (tmp_path / "in").mkdir()
    assert sentence in refused(save_torch(tmp_path / "in" / "a.pth", {**state("pose"), **changes}))


@pytest.mark.trial("C7")
def test_values_in_a_directory_are_looked_at_too(tmp_path):
    variables, spec, report = convert.read(save_torch(tmp_path / "a.pth", state("pose")))
    variables["batch_stats"]["backbone"]["bn1"]["var"][0] = -1
    files.write_directory(tmp_path / "in" / "b", variables, spec, "made up", report)
    assert "1 with variances below zero: batch_stats/backbone/bn1/var" in refused(tmp_path / "in" / "b")


@pytest.mark.trial("C7")
@pytest.mark.parametrize("arguments", [["--landmarks=0"], ["--landmarks=-5"], ["--landmarks=5.0"], ["--landmarks=5_0"]])
def test_a_number_of_landmarks_that_is_none_is_refused(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        command.main([str(tmp_path / "a.pth"), str(tmp_path / "b"), *arguments])
    assert stop.value.code == 2 and "is no such number; want a whole number, 1 or more" in capsys.readouterr().err
    with pytest.raises(ValueError, match="want at least one landmark, not 0"):
        convert.recognize(state("pose"), landmarks=0)
