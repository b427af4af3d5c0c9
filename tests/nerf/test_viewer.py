"""The panel of the viewer, without a viewer."""

import threading
from types import SimpleNamespace

from nerf_methods.viewer import QueryPanel
from ovs3d.errors import InputError
from ovs3d.outputs.legend import legend_markdown
from ovs3d.outputs.palette import palette


def test_the_last_change_wins_when_an_earlier_answer_takes_longer():
    asked, go_on = [], threading.Event()

    def ask(text: str, negatives: str, threshold: float, scale: int) -> SimpleNamespace:
        asked.append(text)
        if text == "mug":
            go_on.wait(timeout=20)
            return SimpleNamespace(notes=("an old note",), names=("mug",))
        raise InputError("an empty prompt")

    panel = QueryPanel(ask, None, "", threshold=0.0, scales=3)
    panel.q1_prompts.value = "mug"
    slow = threading.Thread(target=panel._changed, args=(panel.q1_prompts,))
    slow.start()
    while not asked:
        pass
    panel.q1_prompts.value = "mug; "
    fast = threading.Thread(target=panel._changed, args=(panel.q1_prompts,))
    fast.start()
    fast.join(timeout=0.5)
    go_on.set()
    for thread in (slow, fast):
        thread.join(timeout=20)
    assert asked == ["mug", "mug; "]
    assert panel.q5_status.value == "an empty prompt"


def test_the_legend_names_colours_and_takes_no_name_for_code():
    lines = legend_markdown(["mug", 'a "b" {1}']).split("<br />")
    assert [line.partition("</span> ")[2] for line in lines] == [
        '{"mug"}',
        '{"a \\"b\\" {1}"}',
        '{"no answer"}',
    ]
    r, g, b = palette()[1]
    assert f"rgb({r}, {g}, {b})" in lines[1]
