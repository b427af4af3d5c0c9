"""The method ``ovs3d`` and its smaller and larger forms, as nerfstudio finds them.

A plugin that fails to import breaks every ``ns-*`` command, so nothing optional is imported from here.
"""

import torch
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.plugins.types import MethodSpecification

from nerf_methods.pipeline import Ovs3dPipelineConfig
from nerf_methods.trainer import FusedAdamConfig, Ovs3dTrainerConfig, PhaseSchedulerConfig

# ns-viewer ignores what a run says and takes this default, with which the whole network may look in and type.
ViewerConfig.__dataclass_fields__["websocket_host"].default = "127.0.0.1"


def _optimizer(lr: float, phase: str) -> dict:
    return {
        "optimizer": FusedAdamConfig(lr=lr, eps=1e-15),
        "scheduler": PhaseSchedulerConfig(phase=phase),  # type: ignore[arg-type]
    }


def _method(name: str, iterations: int, pipeline: Ovs3dPipelineConfig | None = None) -> Ovs3dTrainerConfig:
    return Ovs3dTrainerConfig(
        method_name=name,
        max_num_iterations=iterations,
        steps_per_save=250,
        steps_per_eval_batch=0,
        steps_per_eval_image=1000,
        steps_per_eval_all_images=iterations,
        machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
        pipeline=pipeline or Ovs3dPipelineConfig(),
        optimizers={
            "density": _optimizer(0.05, "geometry"),
            "appearance": _optimizer(0.02, "geometry"),
            "shading": _optimizer(2e-3, "geometry"),
            "semantic_volumes": _optimizer(0.02, "semantics"),
            "semantic_heads": _optimizer(1e-2, "semantics"),
        },
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15, websocket_host="127.0.0.1"),
        vis="viewer",
    )


def _lite() -> Ovs3dPipelineConfig:
    config = Ovs3dPipelineConfig(semantic_rays_per_batch=2048, semantic_short_side=60, patches_per_batch=4)
    config.datamanager.train_num_rays_per_batch = 1024
    config.datamanager.tile_scales = (5, 10)
    config.model.density_resolutions = (16, 32, 64)
    config.model.appearance, config.model.features = (8, 192), (8, 96)
    config.model.eval_num_rays_per_chunk = 4096
    return config


def _big() -> Ovs3dPipelineConfig:
    config = Ovs3dPipelineConfig(semantic_short_side=120, patches_per_batch=16)
    config.datamanager.train_num_rays_per_batch = 4096
    config.model.density_resolutions = (16, 32, 64, 128, 256)
    config.model.samples = (96, 48)
    config.model.appearance, config.model.features = (24, 512), (24, 256)
    return config


ovs3d_method = MethodSpecification(
    config=_method("ovs3d", iterations=3000),
    description="3D-OVS: multi-scale CLIP features in a radiance field; ask it for anything in words.",
)
ovs3d_lite_method = MethodSpecification(
    config=_method("ovs3d-lite", iterations=2000, pipeline=_lite()),
    description="ovs3d in less time and memory: smaller volumes and batches, two scales of tiles.",
)
ovs3d_big_method = MethodSpecification(
    config=_method("ovs3d-big", iterations=10000, pipeline=_big()),
    description="ovs3d with larger volumes and batches, for large scenes and for GPUs.",
)
