"""Digests of a folder: what has changed since it was written is named."""

import random
import subprocess

import pytest

from h3r_jax import digests


@pytest.fixture
def folder(tmp_path):
    for name, content in {"a/x": b"one", "a/b/y": b"two" * 100, "top": b"three"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    digests.write(tmp_path)
    return tmp_path


def forget(folder, name):
    """Takes the lines with a name out of the list."""
    path = folder / digests.NAME
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if name not in line))


def test_nothing_has_changed(folder):
    assert digests.present(folder) and digests.faults(folder) == [] == digests.faults(folder, "a", "top")
    command = ["sha256sum", "--check", "--strict", digests.NAME]
    assert subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda folder: (folder / "a/x").unlink(), "a/x is missing"),
        (lambda folder: (folder / "a/x").write_bytes(b""), "a/x has changed"),
        (lambda folder: (folder / "a/b/y").write_bytes(b"two" * 99), "a/b/y has changed"),
        (lambda folder: (folder / "a/x").rename(folder / "a/z"), "a/x is missing, a/z is not in SHA256SUMS"),
        (lambda folder: (folder / "a/b/more").touch(), "a/b/more is not in SHA256SUMS"),
        (lambda folder: (folder / "beside").touch(), ""),
        (lambda folder: (folder / ".hidden").mkdir() or (folder / ".hidden/x").touch(), ""),
        (lambda folder: (folder / "more").mkdir() or (folder / "more/x").touch(), "more/x is not in SHA256SUMS"),
        (lambda folder: forget(folder, "  a/"), "a/b/y is not in SHA256SUMS, a/x is not in SHA256SUMS"),
        (lambda folder: (folder / digests.NAME).write_bytes(b""), "SHA256SUMS is damaged"),
        (lambda folder: (folder / digests.NAME).write_bytes(b"\xff" * 70), "SHA256SUMS is damaged"),
    ],
)
@pytest.mark.trial("A3")
def test_what_has_changed_is_named(folder, change, fault):
    change(folder)
    assert ", ".join(digests.faults(folder)) == fault


def test_some_files_alone(tmp_path, folder):
    digests.write(folder, "a")
    (folder / "top").unlink()
    assert digests.faults(folder) == [] and digests.faults(folder, "top") == ["top is missing"]
    (folder / "a" / "b" / "y").write_text("changed")
    assert digests.faults(folder, "a/x") == [] and digests.faults(folder, "a/b") == ["a/b/y has changed"]


@pytest.mark.trial("A3")
def test_every_bit_counts(folder):
    """Also those of SHA256SUMS itself."""
    rng = random.Random(0)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    for _ in range(60):
        path = rng.choice(paths)
        content = path.read_bytes()
        at = rng.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :])
        assert digests.faults(folder), f"byte {at} of {path}"
        path.write_bytes(content)
    assert digests.faults(folder) == []
