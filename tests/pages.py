"""The pages of the documentation and the Python in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EXPORT = ROOT / "docs" / "export.md"  # its blocks run in test_export, which makes the files that they read
CODEC = ROOT / "docs" / "codec.md"
PREDICT = ROOT / "docs" / "predict.md"
FROM_PYTHON = ROOT / "docs" / "python.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(page):
    """The source of each block that is marked as Python, in order."""
    return [source for language, source in BLOCK.findall(page.read_text()) if language == "python"]


def command_blocks(page):
    """The commands of each fenced block without a language, in order."""
    return [source for language, source in BLOCK.findall(page.read_text()) if not language]
