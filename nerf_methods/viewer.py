"""The controls of the viewer: prompts and negatives, a threshold for "no answer", a scale, and the legend."""

import threading
from collections.abc import Callable, Sequence

from nerfstudio.viewer.viewer_elements import ViewerElement, ViewerSlider, ViewerText
from torch import nn
from viser import GuiMarkdownHandle, ViserServer

from nerf_methods.query import Query
from ovs3d.errors import InputError
from ovs3d.outputs.legend import legend_markdown

Ask = Callable[[str, str, float, int], Query]
"""Prompts and negatives as typed, threshold, and scale (0: their mixture)."""


class Legend(ViewerElement[str]):
    """The colours of the label map."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__("Legend")
        self._lines = legend_markdown(names)
        self._markdown: GuiMarkdownHandle | None = None

    def _create_gui_handle(self, viser_server: ViserServer) -> None:
        self._markdown = viser_server.gui.add_markdown(self._lines)

    def install(self, viser_server: ViserServer) -> None:
        self._create_gui_handle(viser_server)

    def show(self, names: Sequence[str]) -> None:
        """Name the colours of classes 0, 1, ..."""
        self._lines = legend_markdown(names)
        if self._markdown is not None:
            self._markdown.content = self._lines


class QueryPanel(nn.Module):
    """Found by nerfstudio's viewer among the model's modules; shown as "Custom Elements/model/panel".

    A question that cannot be asked (an empty prompt, no word that the weights know) leaves the last one in place. That,
    and what of a question is not answered, is explained in the panel.
    """

    def __init__(self, ask: Ask, query: Query | None, negatives: str, threshold: float, scales: int) -> None:
        super().__init__()
        self._ask = ask
        self._asking = threading.Lock()
        names = query.names if query else ()
        # nerfstudio shows them in the order of their attributes' names
        self.q1_prompts = ViewerText("Prompts", "; ".join(names), cb_hook=self._changed, hint="a; b; c")
        self.q2_negatives = ViewerText(
            "Negatives",
            negatives,
            cb_hook=self._changed,
            hint="What prompts are compared with. None: each other.",
        )
        self.q3_threshold = ViewerSlider("Threshold", threshold, 0.0, 1.0, 0.01, cb_hook=self._changed)
        self.q4_scale = ViewerSlider(
            "Scale",
            0,
            0,
            scales,
            1,
            cb_hook=self._changed,
            hint="0: as each place chose. 1: the largest tiles.",
        )
        self.q5_status = ViewerText("Status", "; ".join(query.notes) if query else "", disabled=True)
        self.q6_legend = Legend(names)

    def _changed(self, element: ViewerElement) -> None:
        # each change has a thread of its own: the last to come in asks what is typed by then
        with self._asking:
            try:
                query = self._ask(
                    self.q1_prompts.value,
                    self.q2_negatives.value,
                    self.q3_threshold.value,
                    self.q4_scale.value,
                )
            except InputError as error:
                self.q5_status.value = str(error)
            else:
                self.q5_status.value = "; ".join(query.notes)
                self.q6_legend.show(query.names)
