"""Training over several processes: one GPU each, or CPU cores; one machine, or many."""

from __future__ import annotations

import logging
import os
import signal
import sys
from datetime import timedelta
from types import FrameType
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import distributed

from neuroxai.errors import InputError
from neuroxai.explain.sharding import is_main_process

_log = logging.getLogger("neuroxai")

GO_ON = "run the same command again to go on from the last epoch"


def local_device(name: str = "auto") -> torch.device:
    """Return this process's device: the GPU of its number on this machine, or the CPU.

    Parameters
    ----------
    name : {"auto", "cuda", "cpu"}
        "auto": a GPU where torch sees one.

    Raises
    ------
    InputError
        If this machine has fewer GPUs than processes.
    """
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if number >= torch.cuda.device_count():
        raise InputError(
            f"process {number} of this machine has no GPU, for there are {torch.cuda.device_count()}; start as many "
            "processes as GPUs (--nproc_per_node), or train on the CPU (--device_name cpu)"
        )
    return torch.device("cuda", number)


def start_processes(device: torch.device, timeout: float = 600.0) -> None:
    """Join the processes that torchrun started; nothing happens where this process was joined before.

    Parameters
    ----------
    device : torch.device
        This process's device: NCCL joins GPUs, gloo CPUs.
    timeout : float
        Seconds after which a process that waits for a silent one gives up.

    Raises
    ------
    InputError
        If torchrun did not start this process.
    """
    if distributed.is_initialized():
        return
    absent = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if absent:
        raise InputError(
            f"multi_gpu_train.json joins processes, but {absent[0]} is not set; start them with torchrun (see the "
            "bundle's docs/README.md), or leave the file out"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(seconds=timeout))
    # ignite makes groups of its own on first use, which some handlers do on the first process alone
    idist.sync()
    _log.info("process %d of %d on %s", idist.get_rank(), idist.get_world_size(), device)
    if not is_main_process():
        _log.setLevel(logging.ERROR)  # one process tells how it goes
    signal.signal(signal.SIGTERM, _terminated)


class SharedBuffers:
    """Give all processes the first one's buffers before validation, so that all judge the same network.

    Batch norm's running statistics follow each process's own scans.

    Parameters
    ----------
    network : torch.nn.Module
        The network in training.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Attach to the validation engine."""
        engine.add_event_handler(Events.STARTED, self._share)

    def _share(self, engine: Engine) -> None:
        if process_count() > 1:
            for buffer in self.network.buffers():
                distributed.broadcast(buffer, src=0)


def end_processes() -> None:
    """Leave the group of processes, if this process is in one.

    Of the commands ``python -m monai.bundle`` and ``neuroxai`` all processes but the first end here: on its way out of
    the interpreter a process that is still connected to others may abort ("terminate called without an active
    exception", seen with gloo in torch 2.13), upon which torchrun calls the whole training failed.
    """
    if not distributed.is_initialized():
        return
    distributed.barrier()
    if distributed.get_rank() > 0 and from_command_line("monai.bundle", "neuroxai"):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    distributed.destroy_process_group()


def from_command_line(*packages: str) -> bool:
    """Whether this process was started as the command of one of these packages."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    return main is not None and main.name.startswith(packages)


def process_count() -> int:
    """Return how many processes train together."""
    return int(idist.get_world_size())


def process_number() -> int:
    """Return the number of this process among all, from 0."""
    return int(idist.get_rank())


def mean_over_processes(total: float, count: int) -> float:
    """Return the mean of sums and counts of all processes (NaN where nothing was counted)."""
    both = torch.tensor([total, float(count)], dtype=torch.float64)
    if idist.get_world_size() > 1:
        both = torch.as_tensor(idist.all_reduce(both))
    return float(both[0] / both[1])


def lost_process(error: BaseException) -> str | None:
    """Return what to tell the user if an error means that another process of the training is gone."""
    seen: BaseException | None = error if distributed.is_initialized() else None
    while seen is not None:
        text = str(seen)
        if isinstance(seen, RuntimeError) and any(sign in text for sign in _GONE):
            return f"another process of this training is gone or silent, see its output ({text[:120]}); {GO_ON}"
        seen = seen.__cause__ or seen.__context__
    return None


_GONE = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")


def _terminated(number: int, frame: FrameType | None) -> Any:
    # torchrun ends the processes that are left when one dies
    sys.stderr.write(
        f"error: process {os.environ.get('RANK', '0')} was told to end, as all are when one of them dies (see the "
        f"others' output); {GO_ON}\n"
    )
    sys.stderr.flush()
    os._exit(128 + number)
