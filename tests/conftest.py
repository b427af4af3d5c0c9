"""Scenes that are made in milliseconds, and a browser."""

import os
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from selenium import webdriver

from ovs3d.geometry import Camera, look_at
from ovs3d.worlds.render import Render
from ovs3d.worlds.write import Views

HEIGHT, WIDTH, FOCAL = 48, 64, 70.0


@pytest.fixture
def ring_views() -> Views:
    """Eight small photos from a ring of cameras around a point off the origin; views 2 and 5 are held out."""
    return _views(np.linspace(0, 2 * np.pi, 8, endpoint=False))


@pytest.fixture
def forward_views() -> Views:
    """The same with all cameras on a tenth of the ring, looking much the same way."""
    return _views(np.linspace(1.0, 1.6, 8))


def _views(angles: np.ndarray) -> Views:
    rng = np.random.default_rng(0)
    intrinsics = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    target = np.array([0.4, -0.3, 0.2])
    cameras, renders = [], []
    for index, angle in enumerate(angles):
        offset = np.array([np.cos(angle), np.sin(angle), 0.4 + 0.05 * index])
        cameras.append(Camera(intrinsics, look_at(target + 1.5 * offset, target), HEIGHT, WIDTH))
        rgb = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        labels = rng.integers(0, 3, (HEIGHT // 8, WIDTH // 8), np.uint8).repeat(8, 0).repeat(8, 1)
        renders.append(Render(rgb, np.full((HEIGHT, WIDTH), 1.5, np.float32), labels))
    return Views(("red mug", "blue striped ball", "wooden table"), cameras, renders, held_out=(2, 5))


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    chromium, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "use-angle=swiftshader", "enable-unsafe-swiftshader"):
        options.add_argument(f"--{flag}")
    options.add_argument("--window-size=1200,800")
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()
