"""Models of default settings to measure: one in training on a world, one without a scene."""

from collections.abc import Callable
from pathlib import Path

import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.base_model import Model
from torch.optim import Adam

from nerf_methods.datamanager import SceneContext
from nerf_methods.losses import LossConfig
from nerf_methods.model import Ovs3dModel, Ovs3dModelConfig
from nerf_methods.pipeline import Ovs3dPipeline, Ovs3dPipelineConfig
from ovs3d.foundation.clip import Clip
from ovs3d.scene import SceneSettings


def training_pipeline(scene: Path, rays: int, device: str) -> Ovs3dPipeline:
    """Ready for the first step of geometry."""
    config = Ovs3dPipelineConfig()
    config.datamanager.data = scene
    config.datamanager.train_num_rays_per_batch = rays
    config.datamanager.tile_scales = (1,)  # features are not part of this
    pipeline = config.setup(device=device)
    pipeline.set_iterations(1_000_000)
    pipeline.start_geometry()
    return pipeline


def training_step(pipeline: Ovs3dPipeline, model: Model) -> Callable[[], None]:
    """One step of training of a model, ours or another, on the rays of our data manager."""
    optimizer = Adam(
        [value for group in model.get_param_groups().values() for value in group],
        lr=0.01,
        eps=1e-15,
        fused=True,
    )
    model.train()

    def step() -> None:
        rays, batch = pipeline.datamanager.next_train(0)
        outputs = model(rays)
        losses = model.get_loss_dict(outputs, batch, model.get_metrics_dict(outputs, batch))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    return step


def model_without_scene(clip: Clip, losses: LossConfig, scales: int = 3) -> Ovs3dModel:
    """Untrained, and asked nothing yet."""
    context = SceneContext(SceneSettings(), clip, center=torch.zeros(3), radius=1.0, scales=scales)
    box = SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    return Ovs3dModelConfig(losses=losses).setup(
        scene_box=box, num_train_data=1, metadata={"context": context}
    )
