"""Where convert and export write: looked at before the work, and replaced whole or not at all."""

import errno
import os

import jax
import numpy as np
import pytest

from h3r_jax import convert, digests, export
from h3r_jax.convert import __main__ as command
from h3r_jax.convert import files

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors.numpy")
from tests.converting import save_torch, state, tiny_backbones  # noqa: F401  (a fixture)


def never(*_, **__):
    raise AssertionError("nothing is read before the destination is known to be free")


@pytest.fixture
def place(tmp_path):
    """Things that stand in the way."""
    save_torch(tmp_path / "a.pth", {"x": np.zeros(1)})
    (tmp_path / "file").write_text("mine")
    (tmp_path / "file.safetensors").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "below" / "thesis.txt").write_text("mine")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "run" / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    return tmp_path


def tree(place):
    return {path: path.read_bytes() if path.is_file() else None for path in place.rglob("*")}


ANY = ["convert", "stablehlo", "savedmodel", "onnx"]
CASES = [
    # source, destination, overwrite, the commands, sentence
    ("a.pth", "file", False, ANY, "file exists already; choose another destination, or give --overwrite"),
    ("a.pth", "folder", False, ANY, "folder exists already"),
    ("a.pth", "link", False, ANY, "link exists already"),
    ("a.pth", "file.safetensors", False, ANY, "file.safetensors exists already"),
    ("a.pth", "folder", True, ["convert"], "replaces only a folder with model.json and variables; choose another"),
    ("a.pth", "link", True, ["savedmodel"], "replaces only a folder with saved_model.pb and variables; choose another"),
    ("a.pth", "folder", True, ["stablehlo", "onnx"], "folder is a folder, and --overwrite replaces only a file"),
    ("a.pth", "folder.safetensors", True, ["convert"], "is a folder, and --overwrite replaces only a file"),
    ("a.pth", "file", True, ["convert", "savedmodel"], "file is a file, and a folder is to be written"),
    ("a.pth", "file/below", False, ANY, "below cannot be written: "),
    ("a.pth", "file/far/below.safetensors", True, ANY, "below.safetensors cannot be written: "),
    ("a.pth", "new.pth", False, ["convert"], "PyTorch's files are read, not written; want an ending .safetensors"),
    ("a.pth", "a.pth", True, ANY[1:], "lie within each other; choose another destination"),
    ("run", "run", True, ANY, "lie within each other"),
    ("run", "run/checkpoints/exported", False, ANY, "lies within the checkpoints of a run"),
    ("run/checkpoints/5", "run/checkpoints/6", False, ANY, "lies within the checkpoints of a run"),
    ("a.pth", "run/checkpoints/6", False, ANY, "lies within the checkpoints of a run"),
    ("run/checkpoints/5", "run", True, ANY, "lie within each other"),
    ("run/checkpoints/5", "run/checkpoints/5/w.safetensors", False, ANY, "lies within the checkpoints of a run"),
    ("folder/../run", "run/checkpoints/w.safetensors", False, ANY, "lies within the checkpoints of a run"),
]


def run(kind, source, destination, *flags):
    arguments = [str(source), str(destination), *flags]
    (command if kind == "convert" else export).main(arguments + ([] if kind == "convert" else [f"--format={kind}"]))


@pytest.mark.trial("A4")
@pytest.mark.parametrize(
    "kind, source, destination, overwrite, sentence",
    [(kind, *case[:3], case[4]) for case in CASES for kind in case[3]],
)
def test_a_destination_is_refused_before_anything_is_read(
    place, monkeypatch, kind, source, destination, overwrite, sentence
):
    monkeypatch.setattr(convert, "read", never)
    monkeypatch.setattr(export, "load_predictor", never)
    before = tree(place)
    with pytest.raises(SystemExit) as stop:
        run(kind, place / source, place / destination, *["--overwrite"] * overwrite)
    message = str(stop.value)
    assert message.startswith("error: ") and sentence in message and "\n" not in message
    assert tree(place) == before


@pytest.mark.trial("D")
@pytest.mark.parametrize("kind", ANY)
def test_a_folder_that_may_not_be_written_is_named(place, monkeypatch, kind):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(SystemExit, match=r"new\.safetensors cannot be written: .* may not be written to"):
        run(kind, place / "a.pth", place / "folder" / "new.safetensors")


@pytest.mark.trial("D")
@pytest.mark.parametrize("kind", ANY)
@pytest.mark.parametrize("path", ["", "https://x/y.safetensors", "file:///x", "ftp://x/y"])
def test_an_empty_path_or_an_address_is_refused(place, monkeypatch, kind, path):
    monkeypatch.setattr(convert, "read", never)
    monkeypatch.setattr(export, "load_predictor", never)
    sentence = f"'{path}' cannot be read; want a path, local or gs://" if path else "a path is empty"
    for source, destination in ((path, place / "new"), (place / "a.pth", path)):
        with pytest.raises(SystemExit, match=f"^error: {sentence}"):
            run(kind, source, destination)


@pytest.mark.trial("D")
@pytest.mark.parametrize("kind", ANY)
def test_a_name_that_is_too_long_is_found_before_anything_is_read(place, monkeypatch, kind):
    monkeypatch.setattr(convert, "read", never)
    monkeypatch.setattr(export, "load_predictor", never)
    with pytest.raises(SystemExit, match="n.safetensors cannot be written: File name too long"):
        run(kind, place / "a.pth", place / ("n" * 250 + ".safetensors"))


FORMS = ["b", "b.safetensors", "n" * 243 + ".safetensors"]


@pytest.mark.trial("B4")
@pytest.mark.parametrize("form", FORMS)
def test_an_older_one_is_replaced_whole(tmp_path, form):
    first = save_torch(tmp_path / "first.pth", state("pose"))
    second = save_torch(tmp_path / "second.pth", {name: x + 1 for name, x in state("pose").items()})
    command.main([str(first), str(tmp_path / form)])
    command.main([str(second), str(tmp_path / form), "--overwrite"])
    found, expected = convert.read(tmp_path / form)[0], convert.read(second)[0]
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["first.pth", "second.pth", form])


@pytest.mark.trial("B4")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_older_one(tmp_path, monkeypatch, form, failure):
    source = save_torch(tmp_path / "a.pth", state("pose"))
    command.main([str(source), str(tmp_path / form)])
    before = tree(tmp_path)

    def fail(*_):
        raise failure

    monkeypatch.setattr(digests, "write", fail)
    monkeypatch.setattr(files.safetensors_files.epath.Path, "write_bytes", fail, raising=False)
    monkeypatch.setattr(type(files.epath.Path(tmp_path)), "write_bytes", fail)
    with pytest.raises(SystemExit) as stop:
        command.main([str(source), str(tmp_path / form), "--overwrite"])
    full = isinstance(failure, OSError)
    assert stop.value.code == (f"error: {tmp_path / form} cannot be written: the disk is full" if full else 130)
    assert tree(tmp_path) == before


@pytest.mark.trial("A5")
@pytest.mark.parametrize("name", ["a [2]", "[x]", "a[1-9]b"])
def test_a_directory_that_orbax_cannot_write_is_refused(tmp_path, name):
    source = save_torch(tmp_path / "a.pth", state("pose"))
    with pytest.raises(SystemExit, match="cannot be written by orbax, because of the square brackets in the path"):
        command.main([str(source), str(tmp_path / name / "b")])
    assert not (tmp_path / name).exists()
    command.main([str(source), str(tmp_path / name / "b.safetensors")])
    assert [path.name for path in (tmp_path / name).iterdir()] == ["b.safetensors"]


@pytest.mark.trial("A5")
@pytest.mark.parametrize("change", [lambda x: x + 1, lambda x: x[:0], lambda x: x.astype(np.float16)])
def test_a_directory_that_is_not_read_back_as_it_was_written_is_refused(tmp_path, monkeypatch, change):
    source = save_torch(tmp_path / "a.pth", state("pose"))
    restore = files._restore
    monkeypatch.setattr(files, "_restore", lambda path: jax.tree.map(change, restore(path)))
    with pytest.raises(SystemExit, match="b cannot be read back after it is written; choose another destination"):
        command.main([str(source), str(tmp_path / "b")])
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
