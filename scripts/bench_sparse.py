"""Time and memory of sparse convolution on this machine, each way in turn, in one process.

Ours against the same operations left to autograd, and against MinkowskiEngine and spconv where they are installed: one
3x3x3 convolution from 64 to 64 channels, forward and backward, and a whole training step of MinkUNet14A, kernel maps
included. Beside it the share of the machine's own rate of matrix products, and how time grows up to a million voxels.
Writes docs/reports/sparse.json; `scripts/write_results.py` makes the tables.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from jaxtyping import Float, Int64
from peak_memory import peak_growth, peak_of_tensors
from torch import Tensor

from ovs3d.eval.environment import environment
from ovs3d.eval.report import Report
from pointcloud.nets.minkunet import ARCHITECTURES, MinkUNet
from pointcloud.sparse import modules, sparse_tensor
from pointcloud.sparse.arithmetic import convolve
from pointcloud.sparse.backends import available, convolve_with
from pointcloud.sparse.kernel_map import KernelMap, Region
from pointcloud.sparse.levels import Level, Step

CHANNELS, CLASSES = 64, 16
OURS, AUTOGRAD = "ours", "autograd"
MINKOWSKI = "minkowski"
Convolve = Callable[[Tensor, Tensor, Step], Tensor]


@dataclass(frozen=True)
class BenchSparse:
    """Measure ratios."""

    out: Path = Path("docs/reports/sparse.json")
    """The report."""
    rounds: int = 7
    """How often each way is timed; medians are reported."""
    seed: int = 0
    """Of clouds and weights."""

    def run(self) -> None:
        start = time.perf_counter()
        clouds = {
            "LiDAR, 32 beams": lidar(self.seed, 32, 1250),
            "LiDAR, 64 beams": lidar(self.seed, 64, 3350),
            "indoor": indoor(self.seed, 4.8),
        }
        gemm = gemm_rate(self.rounds)
        metrics: dict[str, dict] = {"machine": {"GFLOP/s of torch.mm": gemm}}
        for name, voxels in clouds.items():
            print(f"{name}: {len(voxels)} voxels", flush=True)
            metrics[f"convolution, {name}"] = self._convolution(voxels, gemm)
            metrics[f"MinkUNet14A step, {name}"] = self._step(voxels)
        metrics["growth"] = self._growth()
        report = Report(
            task="Time and memory of sparse convolution",
            protocol=f"medians of {self.rounds} rounds in turn, of ratios too, in one process; memory: the most that "
            "tensors take at a time; resident: growth of the process",
            classes=(),
            metrics=metrics,
            split="synthetic clouds",
            weights={},
            config={"channels": CHANNELS},
            seed=self.seed,
            seconds=time.perf_counter() - start,
            **environment(),
        )
        self.out.write_text(report.to_json())
        print(report.to_markdown())

    def _convolution(self, voxels: Int64[Tensor, "v 4"], gemm: float) -> dict[str, float]:
        torch.manual_seed(self.seed)
        level = Level(voxels)
        step = Step(level, level, Region(3))
        x = torch.randn(len(voxels), CHANNELS, requires_grad=True)
        weight = torch.randn(27, CHANNELS, CHANNELS).div(40).requires_grad_()
        grad = torch.randn(len(voxels), CHANNELS)

        def both(way: Convolve) -> Callable[[], object]:
            def work() -> None:
                x.grad = weight.grad = None
                way(x, weight, step).backward(grad)

            return work

        ways = convolutions()
        with torch.no_grad():
            forward = self._times({name: lambda way=way: way(x, weight, step) for name, way in ways.items()})
        works = {name: both(way) for name, way in ways.items()}
        total = self._times(works)
        kernel_map = step.kernel_map
        flops = 6 * kernel_map.n_pairs * CHANNELS**2
        return {
            "voxels": len(voxels),
            "pairs per voxel": kernel_map.n_pairs / len(voxels),
            "map_ms": 1e3 * median(self._times({"map": lambda: whole_map(voxels)})["map"]),
            "forward_ms": 1e3 * median(forward[OURS]),
            "forward_and_backward_ms": 1e3 * median(total[OURS]),
            "forward_ratio": ratio(forward, AUTOGRAD),
            "forward_and_backward_ratio": ratio(total, AUTOGRAD),
            "share of torch.mm": flops / median(total[OURS]) / 1e9 / gemm,
            **self._memory(works),
            **against_minkowski(total),
        }

    def _step(self, voxels: Int64[Tensor, "v 4"]) -> dict[str, float]:
        torch.manual_seed(self.seed)
        net = MinkUNet(1, ARCHITECTURES["minkunet14a"], {"final": CLASSES})
        features, labels = torch.randn(len(voxels), 1), torch.randint(0, CLASSES, (len(voxels),))

        def step(way: Convolve, precision: str = "float32") -> Callable[[], object]:
            def work() -> None:
                modules.convolve_with = lambda backend, x, weight, step: way(x, weight, step)
                net.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                    x, rows = sparse_tensor(features, voxels)
                    logits = net.heads(net(x).features)["final"][rows]
                F.cross_entropy(logits.float(), labels).backward()

            return work

        works = {name: step(way) for name, way in convolutions().items()}
        works["ours in bfloat16"] = step(convolutions()[OURS], "bfloat16")
        seconds = self._times(works)
        memory = self._memory(works)
        modules.convolve_with = convolve_with
        return {
            "step_ms": 1e3 * median(seconds[OURS]),
            "ratio": ratio(seconds, AUTOGRAD),
            "ratio in bfloat16": ratio(seconds, AUTOGRAD, "ours in bfloat16"),
            **memory,
            **against_minkowski(seconds),
        }

    def _growth(self) -> dict[str, float]:
        """Microseconds per voxel of map, forward and backward, for clouds of growing size."""
        found = {}
        for size in (3.4, 6.8, 18.6):
            voxels = indoor(self.seed, size)
            x = torch.randn(len(voxels), 32, requires_grad=True)
            weight = torch.randn(27, 32, 32, requires_grad=True)
            seconds = self._times(
                {"all": lambda x=x, w=weight, v=voxels: convolve(x, w, whole_map(v)).sum().backward()}
            )
            found[f"{len(voxels)} voxels, us per voxel"] = 1e6 * median(seconds["all"]) / len(voxels)
        return found

    def _times(self, works: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Seconds of each in each round, in turn."""
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for round_ in range(self.rounds + 1):
            for name, work in works.items():
                gc.collect()
                start = time.perf_counter()
                work()
                if round_ > 0:
                    seconds[name].append(time.perf_counter() - start)
        return seconds

    def _memory(self, works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """Of tensors, and of the process in each round, in turn."""
        ours, autograd = (peak_of_tensors(works[name]) for name in (OURS, AUTOGRAD))
        grown: dict[str, list[float]] = {OURS: [], AUTOGRAD: []}
        for _ in range(self.rounds):
            for name, each in grown.items():
                each.append(peak_growth(works[name]))
        return {
            "memory_ratio": ours / autograd,
            "memory_mb": ours / 1e6,
            "resident_ratio": ratio(grown, AUTOGRAD),
            "resident_mb": median(grown[OURS]) / 1e6,
        }


def ratio(found: Mapping[str, list[float]], against: str, of: str = OURS) -> float:
    """Median over rounds, so that a slow moment of the machine meets both."""
    return median(a / b for a, b in zip(found[of], found[against], strict=True))


def convolutions() -> dict[str, Convolve]:
    """The ways that can be had here."""
    ways: dict[str, Convolve] = {
        OURS: lambda x, weight, step: convolve(x, weight, step.kernel_map),
        AUTOGRAD: lambda x, weight, step: by_autograd(x, weight, step.kernel_map),
    }
    if available(torch.device("cpu"))[MINKOWSKI] == "ok":
        ways[MINKOWSKI] = partial(convolve_with, MINKOWSKI)
    return ways


def against_minkowski(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """The ratio, where MinkowskiEngine is installed."""
    return {"ratio to MinkowskiEngine": ratio(seconds, MINKOWSKI)} if MINKOWSKI in seconds else {}


def by_autograd(
    x: Float[Tensor, "v i"], weight: Float[Tensor, "k i o"], kernel_map: KernelMap
) -> Float[Tensor, "w o"]:
    """The same operations, whole offsets at a time, with the backward pass that autograd makes of them."""
    identity = kernel_map.identity
    y = x.new_zeros(kernel_map.n_target, weight.shape[2]) if identity is None else x @ weight[identity]
    for k, (start, count) in enumerate(zip(kernel_map.starts, kernel_map.counts, strict=False)):
        here = slice(start, start + count)
        y = y.index_add_(0, kernel_map.target[here], x[kernel_map.source[here]] @ weight[k])
    return y


def whole_map(voxels: Int64[Tensor, "v 4"]) -> KernelMap:
    """The map of a 3x3x3 kernel, made anew."""
    level = Level(voxels)
    return level.map_to(level, Region(3))


def gemm_rate(rounds: int) -> float:
    """GFLOP/s of torch.mm on (65536, 64) x (64, 64)."""
    a, b = torch.randn(65536, CHANNELS), torch.randn(CHANNELS, CHANNELS)
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * a.numel() * CHANNELS / median(seconds[1:]) / 1e9


def lidar(seed: int, beams: int, columns: int, voxel_size_m: float = 0.1) -> Int64[Tensor, "v 4"]:
    """Returns of a spinning LiDAR 1.8 m above flat ground, with a wall at another distance every few degrees."""
    random = np.random.default_rng(seed)
    azimuth = np.linspace(0, 2 * np.pi, columns, endpoint=False)[:, None]
    elevation = np.radians(np.linspace(-25, 3, beams))[None]
    ground = np.where(elevation < 0, 1.8 / np.maximum(-np.sin(elevation), 1e-3), np.inf)
    walls = np.repeat(6 + 40 * random.random(columns // 25 + 1), 25)[:columns, None]
    distance = np.minimum(np.minimum(ground, walls), 70) + random.normal(0, 0.02, (columns, beams))
    across = distance * np.cos(elevation)
    xyz = np.stack(
        [across * np.cos(azimuth), across * np.sin(azimuth), distance * np.sin(elevation)], axis=-1
    )
    return voxels_of(xyz.reshape(-1, 3), voxel_size_m)


def indoor(seed: int, size_m: float, voxel_size_m: float = 0.04) -> Int64[Tensor, "v 4"]:
    """Surfaces of a square room with a box for each two square metres, as a scanner sees them."""
    random = np.random.default_rng(seed)
    height = 2.6
    planes = [((0, 0, 0), (size_m, 0, 0), (0, size_m, 0))]
    planes += [((0, 0, 0), (size_m, 0, 0), (0, 0, height)), ((0, size_m, 0), (size_m, 0, 0), (0, 0, height))]
    planes += [((0, 0, 0), (0, size_m, 0), (0, 0, height)), ((size_m, 0, 0), (0, size_m, 0), (0, 0, height))]
    for _ in range(int(size_m**2 / 2)):
        x, y = random.uniform(0, size_m - 1.2, 2)
        a, b, c = random.uniform(0.4, 1.2, 3)
        planes += [
            ((x, y, c), (a, 0, 0), (0, b, 0)),
            ((x, y, 0), (a, 0, 0), (0, 0, c)),
            ((x, y, 0), (0, b, 0), (0, 0, c)),
        ]
        planes += [((x, y + b, 0), (a, 0, 0), (0, 0, c)), ((x + a, y, 0), (0, b, 0), (0, 0, c))]
    points = []
    for origin, u, v in planes:
        n = int(4 * np.linalg.norm(u) * np.linalg.norm(v) / voxel_size_m**2)
        points.append(
            np.array(origin) + random.random((n, 1)) * np.array(u) + random.random((n, 1)) * np.array(v)
        )
    xyz = np.concatenate(points)
    return voxels_of(xyz + random.normal(0, 0.006, xyz.shape), voxel_size_m)


def voxels_of(xyz: Float[np.ndarray, "n 3"], voxel_size_m: float) -> Int64[Tensor, "v 4"]:
    """Sorted voxels of points, batch 0."""
    voxels = np.unique(np.floor(xyz / voxel_size_m).astype(np.int64), axis=0)
    return torch.from_numpy(np.pad(voxels, ((0, 0), (1, 0))))


if __name__ == "__main__":
    tyro.cli(BenchSparse).run()
