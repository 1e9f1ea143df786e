"""The examples of the README run, and print what it says."""

import doctest
import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def failures(blocks):
    """How many lines of the blocks, which are read as one text, give something else, and how many there are."""
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README.md", str(README), 0)
    result = doctest.DocTestRunner().run(test)
    return result.failed, result.attempted


@pytest.mark.small
def test_examples():
    failed, attempted = failures(block for block in BLOCKS if "cuda" not in block)
    assert failed == 0
    assert attempted > 15


@pytest.mark.simulator
def test_cuda_example():
    failed, attempted = failures(block for block in BLOCKS if "cuda" in block)
    assert failed == 0
    assert attempted > 5


@pytest.mark.small
def test_every_example_is_tested():
    text = README.read_text(encoding="utf-8")
    assert len(BLOCKS) == text.count("```python") >= 6
    assert all(">>>" in block for block in BLOCKS)


@pytest.mark.small
def test_links_and_markers():
    text = README.read_text(encoding="utf-8")
    for name in re.findall(r"\]\((\w[\w./]*)\)", text):
        assert (README.parent / name).is_file(), name
    headings = {
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#(.*?)\)", text)) <= headings
    tables = re.findall(r"^<!-- table: (\S+)[^\n]*-->\n(?:(?!<!--).)*?^<!-- end -->$", text, re.MULTILINE | re.DOTALL)
    operations = [
        "decode.onehot",
        "encode.onehot",
        "encode.box",
        "targets",
        "simcc",
        "decode.argmax",
        "refinements",
        "accuracy",
    ]
    operations += ["decode.center_of_mass", "decode.soft_argmax", "decode.peaks", "networks"]
    assert tables == ["proof", *operations, "latency", "gpu", "gpu-bandwidth", "gpu-latency"]
