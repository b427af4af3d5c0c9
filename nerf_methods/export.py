"""What a run answers, as points and meshes that other programs open."""

import re
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import trimesh

from nerf_methods.run import Run
from nerf_methods.surface import Surface, render_training_views, surface_mesh, surface_points
from ovs3d.atomic import atomic_file
from ovs3d.outputs.palette import label_colors
from ovs3d.outputs.ply import write_ply

Format = Literal["ply", "glb"]


def export(run: Run, out: Path, resolution: int, short_side: int, formats: tuple[Format, ...]) -> list[Path]:
    """Write labelled points, a mesh coloured by label, and a mesh in its own colours for each prompt.

    All in the scene's own frame. A prompt that nothing answers to gets no file.

    Args:
        resolution: voxels along the longest side of what is seen.
        short_side: of the renderings that points and depth come from, in pixels.

    Returns:
        the files that were written.

    Raises:
        InputError: the scene has no surface, or its cameras are not perspective.
    """
    renderings = render_training_views(run, short_side)
    points, mesh = surface_points(renderings), surface_mesh(run, renderings, resolution)
    names, written = run.query.names, [out / "points.ply"]
    labels, scores = _answers(run, points)
    write_ply(written[0], points.xyz.numpy(), _bytes(points.rgb), labels, scores, names)
    labels, _ = _answers(run, mesh)
    written += _write_mesh(mesh, label_colors(labels), labels >= -1, out / "labels", formats)
    for index, name in enumerate(names):
        stem = f"{index} {re.sub(r'[^0-9A-Za-z ._-]', '_', name)}"
        written += _write_mesh(mesh, _bytes(mesh.rgb), labels == index, out / stem, formats)
    return written


def _answers(run: Run, surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Label and, of the best prompt, relevancy of each point."""
    similarity = run.similarity(surface.features)
    return (
        run.query.labels(similarity).cpu().numpy(),
        run.query.relevancies(similarity).amax(-1).cpu().numpy(),
    )


def _bytes(rgb: torch.Tensor) -> np.ndarray:
    return (rgb * 255).round().byte().numpy()


def _write_mesh(
    mesh: Surface, colors: np.ndarray, chosen: np.ndarray, stem: Path, formats: tuple[Format, ...]
) -> list[Path]:
    """The faces whose three vertices are chosen, in each format; nothing where there are none."""
    assert mesh.faces is not None
    faces = mesh.faces[chosen[mesh.faces].all(1)]
    if not len(faces):
        return []
    part = trimesh.Trimesh(mesh.xyz.numpy(), faces, vertex_colors=colors, process=False)
    part.remove_unreferenced_vertices()
    written = []
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        with atomic_file(path) as file:
            part.export(file, file_type=kind)
        written.append(path)
    return written
