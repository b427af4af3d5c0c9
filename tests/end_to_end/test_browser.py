"""The viewer in a real browser: prompts are typed, and the picture answers."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import PATIENCE_S, box_with, listens, share_of_color
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from ovs3d.outputs.palette import palette

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCREENSHOT = Path("outputs/viewer.png")
"""What the viewer looked like at the end."""


@pytest.fixture(scope="module")
def address(trained, tmp_path_factory) -> Iterator[str]:
    """Where ``ns-viewer`` shows the trained run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [Path(sys.executable).with_name("ns-viewer"), "--load-config", trained.config]
    with (tmp_path_factory.mktemp("viewer") / "log.txt").open("w") as log:
        viewer = subprocess.Popen(
            [*line, "--viewer.websocket-port", str(port)], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            WebDriverWait(viewer, PATIENCE_S).until(lambda process: process.poll() is None and listens(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            viewer.terminate()
            viewer.wait(timeout=30)


def test_typed_prompts_change_the_label_map(browser, address, trained):
    browser.get(address)
    prompts = box_with(browser, "; ".join(trained.classes))
    prompts.send_keys(Keys.CONTROL, "a")
    prompts.send_keys(f"xylophone; {trained.classes[-1]}")
    assert "cannot know 'xylophone'" in (box_with(browser, "not answered").get_attribute("value") or "")

    colors = palette()
    assert share_of_color(browser, colors[1]) < 0.01
    box_with(browser, "rgb").click()
    options = browser.find_elements(By.CSS_SELECTOR, "[role=option]")
    names = [option.text for option in options]
    assert {"relevancy_0", "relevancy_1", "segmentation"} <= set(names)
    assert "relevancy_2" not in names
    options[names.index("segmentation")].click()
    WebDriverWait(browser, PATIENCE_S).until(lambda driver: share_of_color(driver, colors[1]) > 0.2)
    assert share_of_color(browser, colors[0]) < 0.01
    legend = browser.find_element(By.TAG_NAME, "body").text
    assert all(f"■ {name}" in legend for name in ("xylophone", trained.classes[-1], "no answer"))
    SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
    SCREENSHOT.write_bytes(browser.get_screenshot_as_png())
