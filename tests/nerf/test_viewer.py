"""The panel of the viewer, without a viewer."""

import threading
from types import SimpleNamespace

from nerf_methods.viewer import QueryPanel
from ovs3d.errors import InputError
from ovs3d.prompts.vocabulary import Vocabulary


def test_the_last_change_wins_when_an_earlier_answer_takes_longer():
    asked, go_on = [], threading.Event()

    def ask(text: str, threshold: float) -> SimpleNamespace:
        asked.append(text)
        if text == "mug":
            go_on.wait(timeout=20)
            return SimpleNamespace(notes=("an old note",))
        raise InputError("an empty prompt")

    panel = QueryPanel(ask, Vocabulary(("mug",)), threshold=0.0)
    slow = threading.Thread(target=panel._changed, args=(panel.prompts,))
    slow.start()
    while not asked:
        pass
    panel.prompts.value = "mug; "
    fast = threading.Thread(target=panel._changed, args=(panel.prompts,))
    fast.start()
    fast.join(timeout=0.5)
    go_on.set()
    for thread in (slow, fast):
        thread.join(timeout=20)
    assert asked == ["mug", "mug; "]
    assert panel.status.value == "an empty prompt"
