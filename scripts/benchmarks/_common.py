"""What the benchmarks of explanation methods share: the network, the plain pass, interleaved times, peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuroxai import networks

Shape = tuple[int, int, int]
Runners = dict[str, Callable[[], object]]
#: Where networks and scans lie; `gpu.sh` sets it.
DEVICE = torch.device(os.environ.get("NEUROXAI_BENCHMARK_DEVICE", "cpu"))
SMALLEST = (78, 78, 78)  # grid that the published networks take


class _First(nn.Module):
    """A network that returns more than its scores."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        """Return the scores."""
        return self.inner(x)[0]


def _densenet(shape: Shape) -> nn.Module:
    from monai.networks.nets import DenseNet121

    model: nn.Module = DenseNet121(spatial_dims=3, in_channels=1, out_channels=2)
    return model


def _vit(shape: Shape) -> nn.Module:
    from monai.networks.nets import ViT

    size = {"hidden_size": 384, "mlp_dim": 1536, "num_layers": 6, "num_heads": 6}
    return _First(ViT(1, shape, (16, 16, 16), classification=True, num_classes=2, post_activation="", **size))


MONAIS = {"densenet121": _densenet, "vit": _vit}  # general networks: residual sums, concatenations, attention


def network(shape: Shape, name: str = "ad_cnn") -> nn.Module:
    """Build a published network, or one of MONAI's, for a grid, with weights and running statistics of a fixed seed."""
    torch.manual_seed(0)
    coarse: dict[str, Any] = {"padding": "same"} if min(shape) < min(SMALLEST) else {}
    model: nn.Module = MONAIS[name](shape) if name in MONAIS else networks.create(name, shape, **coarse)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return model.eval().requires_grad_(False).to(DEVICE)


def scans(shape: Shape, batch: int) -> Tensor:
    """Return random scans without any zero, (batch, 1, *shape)."""
    return torch.rand(batch, 1, *shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)


def plain(model: nn.Module, x: Tensor) -> Tensor:
    """Forward pass and backward pass to the input."""
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(model(x)[:, -1].sum(), x)[0]


def plain_runners(shape: Shape, batch: int, name: str = "ad_cnn") -> Runners:
    """Return the plain pass, NCDHW and channels_last_3d."""
    model, x = network(shape, name), scans(shape, batch)
    last = network(shape, name).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    x_last = x.to(memory_format=torch.channels_last_3d)
    return {"plain": lambda: plain(model, x), "plain, channels last": lambda: plain(last, x_last)}


def fastest_plain(times: dict[str, float]) -> str:
    """Return the name of the faster plain pass."""
    return min(("plain", "plain, channels last"), key=times.__getitem__)


def seconds(found: Runners, repeats: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Median seconds of each, interleaved, after one call of each."""
    taken: dict[str, list[float]] = {name: [] for name in found}
    for call in found.values():
        call()
    for _ in range(repeats):
        for name, call in found.items():
            finish()
            start = clock()
            call()
            finish()
            taken[name].append(clock() - start)
    return {name: statistics.median(t) for name, t in taken.items()}


def finish() -> None:
    """Wait until a GPU has done what it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize(DEVICE)


def measured(script: str, arguments: Sequence[object]) -> float:
    """Peak memory that a script prints, in MiB; a child process, for the peak never falls."""
    command = [sys.executable, script, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak(warm_up: Callable[[], object], call: Callable[[], object]) -> float:
    """Return the peak memory that one call adds, in MiB, after a warm-up call: of the process, or on its GPU."""
    warm_up()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats(DEVICE)
        there = torch.cuda.memory_allocated(DEVICE)
        call()
        return (torch.cuda.max_memory_allocated(DEVICE) - there) / 2**20
    try:
        with open("/proc/self/clear_refs", "w") as file:  # resets the peak to the present size
            file.write("5")
    except OSError:
        return float("nan")
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(key: str, process: int | str = "self") -> float:
    with open(f"/proc/{process}/status") as file:
        return float(next((line.split()[1] for line in file if line.startswith(key)), 0))


def peak_of(process: int | str = "self") -> float:
    """Return the peak memory of a process so far in MiB; 0 where it has ended.

    A started program's `ru_maxrss` is at least that of the program that started it: the system carries it over.
    """
    try:
        return _status("VmHWM", process) / 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def waited(process: int) -> tuple[int, float, float]:
    """Wait for a process; return its exit code, its seconds of processor and its peak memory in MiB."""
    most = 0.0
    while True:
        most = max(most, peak_of(process))
        ended, status, used = os.wait4(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, most
        time.sleep(0.05)
