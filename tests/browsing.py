"""What tests in a real browser share."""

import io
import socket

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PATIENCE_S = 120


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def boxes(browser: webdriver.Chrome) -> list[WebElement]:
    """Text boxes that can be seen."""
    found = browser.find_elements(By.CSS_SELECTOR, "input")
    return [box for box in found if box.is_displayed()]


def box_with(browser: webdriver.Chrome, text: str) -> WebElement:
    """The first text box that holds a text, as soon as there is one; the page replaces boxes while it starts."""

    def find(driver: webdriver.Chrome) -> WebElement | None:
        return next((box for box in boxes(driver) if text in (box.get_attribute("value") or "")), None)

    wait = WebDriverWait(browser, PATIENCE_S, ignored_exceptions=[StaleElementReferenceException])
    return wait.until(find)


def share_of_color(browser: webdriver.Chrome, color: tuple[int, int, int]) -> float:
    """Share of the window with a colour, about."""
    window = np.array(Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")).astype(int)
    return float((np.abs(window - color).max(-1) < 40).mean())
