"""Explain a cohort with workers on other machines, which see the same folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neuroxai.cli._bundle import Scans, device_of, run_evaluator
from neuroxai.processes import cluster, submitted

_MOST = 16  # scans at a time
_LOTS = 32  # of a small cohort


@dataclass(frozen=True)
class Request:
    """What is the same for all scans: bundle, configurations, device, and overrides of `open_workflow`."""

    bundle: Path
    configs: Sequence[str]
    device: str
    options: Mapping[str, Any]


def explain_on_cluster(
    scheduler: str, request: Request, items: Sequence[Mapping[str, Any]], scans: Scans, told: Callable[..., None]
) -> list[dict[str, str]]:
    """Explain scans on a cluster (`neuroxai.processes.cluster`); the folder's tables are left to the caller.

    Where a worker dies several times with a lot of scans, each of them is tried alone.

    Parameters
    ----------
    scheduler : str
        Its address, or a queueing system.
    request : Request
        How to explain.
    items : sequence of dict
        The scans that are not finished.
    scans : Scans
        How each fits the network is noted here.
    told : callable
        Called with (finished, all).

    Returns
    -------
    list of dict
        What failed.
    """
    options = {name: dict(v) if isinstance(v, MappingProxyType) else v for name, v in request.options.items()}
    task = partial(explain_lot, Request(request.bundle.resolve(), request.configs, request.device, options))
    size = max(1, min(_MOST, len(items) // _LOTS))
    failed: list[dict[str, str]] = []
    done = 0
    told(done, len(items))
    with cluster(scheduler) as client:
        lots = [items[n : n + size] for n in range(0, len(items), size)]
        while lots:
            again: list[Sequence[Mapping[str, Any]]] = []
            for lot, result, reason in submitted(client, task, lots):
                if reason and len(lot) > 1:
                    again += [[item] for item in lot]
                    continue
                if reason:
                    who = {name: str(lot[0][name] or "") for name in ("participant_id", "session_id")}
                    failed.append({**who, "error": f"{lot[0]['image']}: {reason}, most likely for want of memory"})
                else:
                    failed += result.failures
                    scans.unlike += result.unlike
                    scans.fit_known = scans.fit_known and result.fit_known
                done += len(lot)
                told(done, len(items))
            lots = again
    return failed


def explain_lot(request: Request, items: Sequence[dict[str, Any]]) -> Scans:
    """Explain some scans in this process, but for the folder's tables."""
    workflow = _opened(request)
    # what the configuration has for `items`
    workflow.evaluator.data_loader.dataset.data = workflow.parser.get_parsed_content("heatmaps").pending(items)
    workflow.evaluator.state.epoch_length = None  # of the lot before
    found = Scans([], request.bundle, [])
    found.failures = run_evaluator(workflow.evaluator, len(items), True, found)
    return found


_KEPT: dict[str, Any] = {}  # the last bundle, which the next lot most likely needs


def _opened(request: Request) -> Any:
    from neuroxai.explain.bundle import open_workflow

    if repr(request) not in _KEPT:
        options = {name: MappingProxyType(v) if isinstance(v, dict) else v for name, v in request.options.items()}
        options |= {"scans": (), "device": device_of(request.device), "heatmaps::tables": False}
        _KEPT.clear()
        _KEPT[repr(request)] = open_workflow(request.bundle, request.configs, **options)
    return _KEPT[repr(request)]
