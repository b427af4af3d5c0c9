"""The method ``ovs3d``, as nerfstudio finds it.

A plugin that fails to import breaks every ``ns-*`` command, so nothing optional is imported from here.
"""

import torch
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.plugins.types import MethodSpecification

from nerf_methods.trainer import FusedAdamConfig, Ovs3dTrainerConfig, PhaseSchedulerConfig

# ns-viewer ignores what a run says and takes this default, with which the whole network may look in and type.
ViewerConfig.__dataclass_fields__["websocket_host"].default = "127.0.0.1"


def _optimizer(lr: float, phase: str) -> dict:
    return {
        "optimizer": FusedAdamConfig(lr=lr, eps=1e-15),
        "scheduler": PhaseSchedulerConfig(phase=phase),  # type: ignore[arg-type]
    }


def _method(name: str, iterations: int) -> Ovs3dTrainerConfig:
    return Ovs3dTrainerConfig(
        method_name=name,
        max_num_iterations=iterations,
        steps_per_save=250,
        steps_per_eval_batch=0,
        steps_per_eval_image=1000,
        steps_per_eval_all_images=iterations,
        machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
        optimizers={
            "density": _optimizer(0.05, "geometry"),
            "appearance": _optimizer(0.02, "geometry"),
            "shading": _optimizer(2e-3, "geometry"),
            "semantic_volumes": _optimizer(0.02, "semantics"),
            "semantic_heads": _optimizer(2e-3, "semantics"),
        },
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15, websocket_host="127.0.0.1"),
        vis="viewer",
    )


ovs3d_method = MethodSpecification(
    config=_method("ovs3d", iterations=3000),
    description="3D-OVS: multi-scale CLIP features in a radiance field; ask it for anything in words.",
)
