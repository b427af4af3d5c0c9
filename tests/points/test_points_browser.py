"""The page of a point cloud in a real browser: prompts are typed, and the points change their colours."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browsing import PATIENCE_S, box_with, listens, share_of_color
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from tiny_scans import CLASSES, write_tiny

from ovs3d.outputs.palette import palette
from pointcloud.config import Net
from pointcloud.model import PointModel
from pointcloud.runs import About, write_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCREENSHOT = Path("outputs/points-viewer.png")
"""What the page looked like at the end."""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Where ``ovs3d-points view`` shows a run that says "box" of every point."""
    folder = tmp_path_factory.mktemp("points")
    index = write_tiny(folder / "data")
    model = PointModel(Net(voxel_size_m=0.2), {"classifier": 2})
    model.net.get_parameter("classifier.kernel").data.zero_()
    model.net.get_parameter("classifier.bias").data = torch.tensor([[0.0, 9.0]])
    write_run(folder / "run", About(Net(voxel_size_m=0.2), {"classifier": 2}, CLASSES, "", {}), model)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("ovs3d-points")
    line = [command, "view", "--run", folder / "run", "--index", index, "--port", str(port)]
    with (folder / "log.txt").open("w") as log:
        viewer = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT)
        try:
            WebDriverWait(viewer, PATIENCE_S).until(lambda process: process.poll() is None and listens(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            viewer.terminate()
            viewer.wait(timeout=30)


def test_typed_prompts_change_the_colours_of_the_points(browser, address):
    browser.get(address)
    colors = palette()
    WebDriverWait(browser, PATIENCE_S).until(lambda driver: share_of_color(driver, colors[1]) > 0.02)
    prompts = box_with(browser, "; ".join(CLASSES))
    prompts.send_keys(Keys.CONTROL, "a")
    prompts.send_keys("box; xylophone")
    assert "knows only floor; box" in (box_with(browser, "knows only").get_attribute("value") or "")
    prompts.send_keys(Keys.CONTROL, "a")
    prompts.send_keys("box")
    WebDriverWait(browser, PATIENCE_S).until(lambda driver: share_of_color(driver, colors[0]) > 0.02)
    assert share_of_color(browser, colors[1]) < 0.01
    assert "■ box" in browser.find_element(By.TAG_NAME, "body").text
    SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
    SCREENSHOT.write_bytes(browser.get_screenshot_as_png())
