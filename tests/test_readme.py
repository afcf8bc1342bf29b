"""The README's Python runs as it stands there."""

import re
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def test_the_examples_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["ids"].shape == (2, 10)
    assert names["y"].shape == (5, 64)
    assert isinstance(names["optimizer"], torch.optim.AdamW)
    assert "reference" in capsys.readouterr().out


def test_every_file_that_the_documents_point_to_exists():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
