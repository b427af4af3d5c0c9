"""The controls of the viewer: a box for prompts and a slider for "no answer"."""

import threading
from collections.abc import Callable

from nerfstudio.viewer.viewer_elements import ViewerElement, ViewerSlider, ViewerText
from torch import nn

from nerf_methods.query import Query
from ovs3d.errors import InputError
from ovs3d.prompts.vocabulary import Vocabulary


class QueryPanel(nn.Module):
    """Found by nerfstudio's viewer among the model's modules; shown as "Custom Elements/model/panel".

    A question that cannot be asked (an empty prompt, no word that the weights know) leaves the last one in place. That,
    and what of a question is not answered, is explained in the panel.
    """

    def __init__(
        self,
        ask: Callable[[str, float], Query],
        vocabulary: Vocabulary | None,
        threshold: float,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self._ask = ask
        self._asking = threading.Lock()
        self.prompts = ViewerText(
            "Prompts",
            "; ".join(vocabulary.names) if vocabulary else "",
            cb_hook=self._changed,
            hint="a; b; c",
        )
        self.threshold = ViewerSlider("Threshold", threshold, 0.0, 1.0, 0.01, cb_hook=self._changed)
        self.status = ViewerText("Status", "; ".join(notes), disabled=True)

    def _changed(self, element: ViewerElement) -> None:
        # each change has a thread of its own: the last to come in asks what is typed by then
        with self._asking:
            try:
                query = self._ask(self.prompts.value, self.threshold.value)
            except InputError as error:
                self.status.value = str(error)
            else:
                self.status.value = "; ".join(query.notes)
