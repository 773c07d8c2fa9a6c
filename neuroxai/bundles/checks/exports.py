"""Exports of a trained network: TorchScript, ``.pt2`` and ONNX, and the checks that all give the same logits."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from neuroxai.bundles.checks.properties import open_workflow, quiet
from neuroxai.bundles.checks.trial import Problem, Trial
from neuroxai.components import load_weights, read_record, recorded_space
from neuroxai.space import mni152

BATCHES = (1, 3)
TOLERANCE = 1e-5


def trained_network(bundle: Path) -> tuple[torch.nn.Module, tuple[int, ...]]:
    """Build a bundle's network with its trained weights; return it with the shape of one scan (channels, x, y, z)."""
    weights = str(bundle / "models" / "model.pt")
    with quiet():
        workflow = open_workflow(bundle, ["inference"], "infer", dataset_dir=str(bundle), device=torch.device("cpu"))
        network = load_weights(workflow.network_def, weights).eval().requires_grad_(False)
        channels = workflow.parser["_meta_#network_data_format#inputs#image#num_channels"]
    return network, (channels, *recorded_space(read_record(weights), mni152(2.0)).shape)


def write_pt2(network: torch.nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write the network as a program of ``torch.export``, for any batch."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, (_scans(2, shape),), dynamic_shapes=({0: batch},))
    program.example_inputs = None  # a scan's size each
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # names files of this machine
    torch.export.save(program, path)


def write_torchscript(network: torch.nn.Module, path: Path) -> None:
    """Write the network as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but what older servers load
        torch.jit.save(torch.jit.script(network), path)


def write_onnx(network: torch.nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write the network as ONNX, for any batch."""
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.onnx.export(
        network,
        (_scans(2, shape),),
        path,
        dynamo=True,
        dynamic_shapes=({0: batch},),
        verbose=False,
        external_data=False,
    )


def torchscript(trial: Trial) -> None:
    """Check that ``monai.bundle ckpt_export`` writes a TorchScript network with the logits of the eager one."""
    path = trial.folder / "model.ts"
    trial.run(
        "ckpt_export", configs=["inference.json"], net_id="network_def", filepath=path, ckpt_file=trial.model,
        meta_file=trial.bundle / "configs" / "metadata.json",
    )  # fmt: skip
    _compare(trial, torch.jit.load(str(path)))  # type: ignore[no-untyped-call]


def pt2(trial: Trial) -> None:
    """Check that a ``.pt2`` program has the logits of the eager network."""
    path = trial.folder / "model.pt2"
    with quiet():
        write_pt2(*trained_network(_trained(trial)), path)
        loaded: Any = torch.export.load(path).module()
    _compare(trial, loaded)


def onnx(trial: Trial) -> None:
    """Check that an ONNX network has the logits of the eager network."""
    import onnxruntime

    path = trial.folder / "model.onnx"
    with quiet():
        write_onnx(*trained_network(_trained(trial)), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    _compare(trial, lambda scans: torch.from_numpy(session.run(None, {name: scans.numpy()})[0]))


def _compare(trial: Trial, exported: Callable[[torch.Tensor], Any]) -> None:
    network, shape = trained_network(trial.bundle)
    for batch in BATCHES:
        scans = _scans(batch, shape)
        with torch.no_grad():
            expected, found = network(scans), exported(scans)
        largest = float((expected - found).abs().max()) if expected.shape == found.shape else float("inf")
        if not largest <= TOLERANCE * max(1.0, float(expected.abs().max())):
            raise Problem(f"logits differ by {largest:.2g} at batch {batch}, expected {TOLERANCE:g}")


def _trained(trial: Trial) -> Path:
    return trial.model.parents[1]


def _scans(batch: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(batch))
