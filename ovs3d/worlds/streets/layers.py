"""Two scenes in one: what stands keeps its tree of triangles while what moves gets a new one at each time."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ovs3d.worlds.render import Scene


@dataclass(frozen=True, eq=False)
class _Layers(Scene):
    """A scene whose first triangles are those of one scene and whose last are those of another."""

    layers: tuple[Scene, ...] = ()

    @cached_property
    def _embree(self):
        still, moving = self.layers
        return _Trees(still._embree, moving._embree, len(still.corners))

    @cached_property
    def _flat_normals(self) -> np.ndarray:
        return np.concatenate([layer._flat_normals for layer in self.layers])


@dataclass(frozen=True)
class _Trees:
    """Answers as one embree scene does."""

    still: Any
    moving: Any
    offset: int
    """Index of the first triangle of ``moving``."""

    def run(self, origins: np.ndarray, directions: np.ndarray, query: str, output: bool = False) -> Any:
        first = self.still.run(origins, directions, query=query, output=output)
        second = self.moving.run(origins, directions, query=query, output=output)
        if not output:  # 0 where something is in the way, -1 where nothing is
            return np.maximum(first, second)
        nearer = (second["primID"] >= 0) & ((first["primID"] < 0) | (second["tfar"] < first["tfar"]))
        for name in ("u", "v", "tfar"):
            first[name][nearer] = second[name][nearer]
        first["primID"][nearer] = second["primID"][nearer] + self.offset
        return first


def layered(still: Scene, moving: Scene) -> Scene:
    """Both scenes in one, under the first one's lamp and sky; parts of the second follow those of the first."""
    return _Layers(
        corners=np.concatenate([still.corners, moving.corners]),
        normals=np.concatenate([still.normals, moving.normals]),
        classes=np.concatenate([still.classes, moving.classes]),
        parts=np.concatenate([still.parts, moving.parts + np.int32(len(still.materials))]),
        materials=(*still.materials, *moving.materials),
        lamp=still.lamp,
        sky=still.sky,
        layers=(still, moving),
    )
