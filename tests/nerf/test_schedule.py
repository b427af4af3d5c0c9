"""Each phase has its learning rates, and a checkpoint of them holds nothing that must be unpickled."""

import itertools

import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers
from torch import nn

from nerf_methods.config import ovs3d_method
from nerf_methods.pipeline import forget_moments
from nerf_methods.trainer import FusedAdamConfig, PhaseScheduler, PhaseSchedulerConfig


def make_schedule() -> PhaseScheduler:
    return PhaseSchedulerConfig(warmup_steps=10, final_factor=0.01, start=100, stop=300).setup()


def test_a_phase_warms_up_and_decays_to_its_final_factor():
    schedule = make_schedule()
    assert schedule.factor(100) == pytest.approx(0.1)
    assert schedule.factor(104) == pytest.approx(0.5 * 0.01 ** (4 / 200))
    assert schedule.factor(200) == pytest.approx(0.1)
    assert schedule.factor(299) == pytest.approx(0.01 ** (199 / 200))
    warm = [schedule.factor(step) for step in range(110, 300)]
    assert all(later < earlier for earlier, later in itertools.pairwise(warm))


def test_outside_of_its_phase_a_schedule_stands_still():
    schedule = make_schedule()
    assert schedule.factor(0) == schedule.factor(100)
    assert schedule.factor(10_000) == schedule.factor(300) == pytest.approx(0.01)


def test_a_restart_begins_the_decay_anew_without_a_warm_up():
    schedule = PhaseSchedulerConfig(
        warmup_steps=10, final_factor=0.01, start=100, stop=300, restart=160
    ).setup()
    assert schedule.factor(159) == make_schedule().factor(159)
    assert schedule.factor(160) == 1.0
    assert schedule.factor(299) == pytest.approx(0.01 ** (139 / 200))


def test_moments_that_are_forgotten_are_as_of_a_new_adam():
    parameter = nn.Parameter(torch.ones(3))
    optimizers = make_optimizers(parameter)
    steps(optimizers, parameter, 0, 4)
    other = nn.Parameter(parameter.detach().clone())
    fresh = make_optimizers(other)
    forget_moments(optimizers, step=4)
    rate = optimizers.optimizers["density"].param_groups[0]["lr"]
    fresh.optimizers["density"].param_groups[0]["lr"] = rate
    steps(optimizers, parameter, 4, 5)
    steps(fresh, other, 4, 5)
    torch.testing.assert_close(parameter, other)


def test_a_phase_of_no_iterations_is_no_division_by_zero():
    empty = PhaseSchedulerConfig(start=5, stop=5, warmup_steps=0).setup()
    assert empty.factor(5) == 1.0


def make_optimizers(parameter: nn.Parameter) -> Optimizers:
    schedule = PhaseSchedulerConfig(warmup_steps=2, final_factor=0.1, start=0, stop=10)
    group = {"optimizer": FusedAdamConfig(lr=0.1), "scheduler": schedule}
    return Optimizers({"density": group}, {"density": [parameter]})


def steps(optimizers: Optimizers, parameter: nn.Parameter, first: int, last: int) -> None:
    for step in range(first, last):
        optimizers.zero_grad_all()
        (parameter * torch.arange(1.0, 4.0)).square().sum().backward()
        optimizers.optimizer_step_all()
        optimizers.scheduler_step_all(step)


def state(optimizers: Optimizers) -> dict:
    return {
        "optimizers": {name: one.state_dict() for name, one in optimizers.optimizers.items()},
        "schedulers": {name: one.state_dict() for name, one in optimizers.schedulers.items()},
    }


def test_rates_in_a_checkpoint_are_plain_floats():
    parameter = nn.Parameter(torch.ones(3))
    optimizers = make_optimizers(parameter)
    steps(optimizers, parameter, 0, 4)
    saved = state(optimizers)
    rates = [
        *[group["lr"] for group in saved["optimizers"]["density"]["param_groups"]],
        *saved["schedulers"]["density"]["_last_lr"],
    ]
    assert [type(rate) for rate in rates] == [float, float]
    assert rates[0] == pytest.approx(0.1 * 0.1 ** (4 / 10))


def test_a_checkpoint_loads_without_unpickling_and_continues_as_if_never_stopped(tmp_path):
    whole, stopped = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizers = make_optimizers(whole)
    steps(optimizers, whole, 0, 8)
    before = make_optimizers(stopped)
    steps(before, stopped, 0, 5)
    torch.save(state(before), tmp_path / "a.ckpt")
    resumed = nn.Parameter(stopped.detach().clone())
    after = make_optimizers(resumed)
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)
    after.load_optimizers(loaded["optimizers"])
    after.load_schedulers(loaded["schedulers"])
    steps(after, resumed, 5, 8)
    torch.testing.assert_close(resumed, whole)


def test_every_group_of_the_method_is_scheduled_in_one_of_two_phases():
    groups = ovs3d_method.config.optimizers
    phases = {name: group["scheduler"].phase for name, group in groups.items()}
    assert set(phases.values()) == {"geometry", "semantics"}
    assert phases["density"] == "geometry"
    assert phases["semantic_heads"] == "semantics"
