"""What the README says can be typed as it is."""

import re
import shlex
from pathlib import Path

import pytest

import ovs3d
from pointcloud.cli import parse

README = Path(ovs3d.__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_the_lines_of_python_ask_a_run(trained):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    path, prompts = "outputs/.../config.yml", "mug; red ball"
    assert path in code
    assert prompts in code
    code = code.replace(path, str(trained.config)).replace(prompts, "; ".join(trained.classes[:2]))
    found: dict = {}
    exec(code, found)
    assert found["labels"].shape == (120, 160)
    assert found["scores"].shape == (120, 160, 2)
    assert found["answers"].shape == (120 * 160,)
    assert set(found["answers"].unique().tolist()) <= {-1, 0, 1}


def test_the_commands_on_point_clouds_are_understood():
    lines = re.findall(r"^    ovs3d-points (.*)$", README.read_text(), re.MULTILINE)
    assert [type(parse(shlex.split(line, comments=True))).__name__ for line in lines] == [
        "Index",
        "Finetune",
        "Evaluate",
        "View",
        "Infer",
        "Pretrain",
        "Infer",
        "Pretrain",
        "Evaluate",
        "Evaluate",
        "Pretrain",
        "Finetune",
    ]
