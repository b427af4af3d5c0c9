"""The viewer in a real browser: prompts are typed, and the picture answers."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import PATIENCE_S, box_with, listens, share_of_color
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from ovs3d.outputs.palette import palette

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCREENSHOT = Path("outputs/viewer.png")
"""What the viewer looked like when all prompts had been typed in another order."""


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


def choose(browser: webdriver.Chrome, shown: str, output: str) -> list[str]:
    """Show another output; returns the names of all."""
    box_with(browser, shown).click()
    options = browser.find_elements(By.CSS_SELECTOR, "[role=option]")
    names = [option.text for option in options]
    options[names.index(output)].click()
    return names


def ask(prompts: WebElement, text: str) -> None:
    prompts.send_keys(Keys.CONTROL, "a")
    prompts.send_keys(text)


def test_typed_prompts_change_the_label_map(browser, address, trained):
    def share(index: int) -> float:
        return share_of_color(browser, colors[index])

    def wait_for(condition: Callable[[], bool]) -> None:
        WebDriverWait(browser, PATIENCE_S).until(lambda _: condition())

    browser.get(address)
    colors, count = palette(), len(trained.classes)
    prompts = box_with(browser, "; ".join(trained.classes))
    assert f"relevancy_{count - 1}" in choose(browser, "rgb", "segmentation")
    wait_for(lambda: max(map(share, range(count))) > 0.1)
    largest = max(range(count), key=share)
    before = share(largest)

    # the same prompts in another order: each place answers as before, in its prompt's new colour
    ask(prompts, "; ".join(["xylophone", *reversed(trained.classes)]))
    assert largest != count - largest
    wait_for(lambda: share(count - largest) == pytest.approx(before, rel=0.2))
    assert share(largest) < 0.5 * before
    SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
    SCREENSHOT.write_bytes(browser.get_screenshot_as_png())

    ask(prompts, f"xylophone; {trained.classes[-1]}")
    wait_for(lambda: share(1) > 0.2)
    assert share(0) < 0.01
    assert "cannot know 'xylophone'" in (box_with(browser, "not answered").get_attribute("value") or "")
    assert "relevancy_2" not in choose(browser, "segmentation", "relevancy_1")
    choose(browser, "relevancy_1", "segmentation")
    legend = browser.find_element(By.TAG_NAME, "body").text
    assert all(f"■ {name}" in legend for name in ("xylophone", trained.classes[-1], "no answer"))
