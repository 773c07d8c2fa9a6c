"""Training guided by relevance: a term of the loss for relevance outside a mask, and where the masks come from."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.config import KeysCollection
from monai.engines.utils import IterationEvents
from monai.transforms import MapTransform
from torch import Tensor, nn

from neuroxai.atlas.builtin import builtin
from neuroxai.atlas.named import get
from neuroxai.cohort import load_datalist
from neuroxai.cohort.tables import People
from neuroxai.components.distributed import mean_over_processes
from neuroxai.errors import InputError
from neuroxai.io import inside, read_labels
from neuroxai.lrp import LRP
from neuroxai.masks import mask_in_space
from neuroxai.preprocess.template import load_template
from neuroxai.space import Space

_log = logging.getLogger("neuroxai")

RULES = ("z_plus", "epsilon")
BRAIN = "brain"
MASK = "relevance_mask"


class RelevanceGuidance:
    """Add to a trainer's loss the share of relevance that lies outside a mask (after Tinauer 2022).

    ``loss + weight * mean over scans of (sum of |R| outside) / (sum of |R|)``, R the relevance of a scan's voxels by
    `neuroxai.lrp.LRP`, begun at all outputs by their probabilities. Tinauer's term is minus the sum of R inside. Here
    it is a share, because batch normalisation and biases keep part of the relevance, which the network could raise or
    lower as a whole; of absolute values, so that evidence against a class counts as well; and probabilities are
    constants in it, so that it cannot be made smaller by predicting another class.

    What is explained is the network as it predicts: running statistics of batch normalisation, no dropout. Attach it to
    the trainer in front of `neuroxai.components.CheckpointHandler`, which writes each epoch's mean share to
    ``history.tsv``.

    Parameters
    ----------
    network : torch.nn.Module
        The network in training, without what wraps it.
    weight : float
        Of the term, 0 or more.
    rule : {"z_plus", "epsilon"}
        LRP rule of all layers: z+ looks at what contributes to a class alone, as in Tinauer 2022, epsilon also at what
        contributes against it.
    every : int
        Every so many scans of a batch are guided, by turns: each costs as much as a few plain ones.

    References
    ----------
    Tinauer et al. (2022). Interpretable brain disease classification and relevance-guided deep learning. Scientific
    Reports 12, 20254.
    """

    def __init__(self, network: nn.Module, weight: float, rule: str = "z_plus", every: int = 2) -> None:
        self.weight = weight
        self.every = every
        self.lrp = LRP(network, rule)
        self._shares: list[float] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._guide)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._tell)

    def shares(self, scans: Tensor, masks: Tensor) -> Tensor:
        """Return the share of relevance outside the masks, with its graph.

        Parameters
        ----------
        scans : torch.Tensor
            (batch, channels, x, y, z).
        masks : torch.Tensor
            (batch, 1, x, y, z), 0 outside.

        Returns
        -------
        torch.Tensor
            (batch,), 0 to 1; 0 where no relevance arrives.
        """
        size: Tensor = self.lrp.attribute(scans, start=_probabilities, create_graph=True).abs()
        outside = (size * (masks == 0)).flatten(1).sum(1)
        whole = size.flatten(1).sum(1)
        return outside / torch.where(whole > 0, whole, 1)

    def _guide(self, engine: Engine) -> None:
        first, output, batch = engine.state.iteration % self.every, engine.state.output, engine.state.batch
        scans: Tensor = output["image"][first :: self.every]
        if len(scans) == 0:
            return
        masks = batch[MASK][first :: self.every].to(scans.device)
        share = self.shares(scans, masks).mean()
        self._shares.append(float(share.detach()))
        output["loss"] = output["loss"] + self.weight * share

    def _tell(self, engine: Engine) -> None:
        share = mean_over_processes(sum(self._shares), len(self._shares))
        self._shares = []
        engine.state.metrics["relevance_outside"] = share
        if share == 0:
            _log.warning(
                "no relevance lies outside --relevance_mask, so that guidance changes nothing; voxels of 0 get none"
            )


def _probabilities(logits: Tensor) -> Tensor:
    """Return what relevance starts from; of one output anything does, for the term is a share."""
    return logits.detach().softmax(1) if logits.shape[1] > 1 else torch.ones_like(logits)


class RelevanceMaskd(MapTransform):
    """Put the mask within which relevance is wanted beside each scan, shape (1, x, y, z), bool.

    Goes first among the random transforms, whose keys name the mask too: it moves as its scan does.

    Parameters
    ----------
    keys : str
        Where the mask is put.
    mask : str or sequence of str
        "brain" (of the MNI152 template); a mask's file, in the network's grid or in the template's space; a column of
        the datalist or of participants.tsv with a mask's file for each training scan, relative to the cohort's folder;
        or regions of an atlas by name, with or without their side: ``hippocampus`` of the built-in atlas,
        ``ATLAS:REGION`` of another.
    space : Space
        The network's grid.
    datalist, dataset_dir : str
        The file, and the cohort's folder.

    Raises
    ------
    InputError
        If the mask is none of these, is empty, or a scan has none.
    """

    def __init__(
        self, keys: KeysCollection, mask: str | Sequence[str], space: Space, datalist: str, dataset_dir: str
    ) -> None:
        super().__init__(keys)
        self.space = space
        self._read: dict[Path, Tensor] = {}
        self.of_scan = {} if mask == BRAIN else _masks_of_scans(str(mask), datalist, dataset_dir)
        self.common = None if self.of_scan else torch.from_numpy(_common_mask(mask, space))[None]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the mask."""
        found = self.common if self.common is not None else self._of(Path(data["source"]).resolve())
        return {**data, **dict.fromkeys(self.keys, found)}

    def _of(self, scan: Path) -> Tensor:
        if scan not in self._read:
            mask = mask_in_space(read_labels(self.of_scan[scan]), self.space, keep_small=True)
            self._read[scan] = torch.from_numpy(_filled(mask, str(self.of_scan[scan])))[None]
        return self._read[scan]


def _masks_of_scans(column: str, datalist: str, dataset_dir: str) -> dict[Path, Path]:
    """Return each training scan's mask by the scan's path; nothing where no table has such a column."""
    items, table = load_datalist(datalist, "training", dataset_dir), Path(dataset_dir) / "participants.tsv"
    rows = items
    if table.is_file() and not any(column in item for item in items):
        people = People(table)
        found = [people.row_of(item["participant_id"], item.get("session_id") or None) for item in items]
        rows = [row[1] if isinstance(row, tuple) else {} for row in found]
    if not any(column in row for row in rows):
        return {}
    masks = {}
    for scan, name in ((item["image"], row.get(column)) for item, row in zip(items, rows, strict=True)):
        path = inside(Path(dataset_dir), str(name)) if name not in (None, "", "n/a") else None
        if path is None or not path.is_file():
            raise InputError(
                f"--relevance_mask {column}: {scan} has {name!r} there, expected the file of its mask, relative to "
                f"{dataset_dir}; name one for each training scan"
            )
        masks[Path(scan).resolve()] = path
    return masks


def _common_mask(asked: str | Sequence[str], space: Space) -> Any:
    """Return one mask for all scans, (x, y, z)."""
    if asked == BRAIN:
        return _filled(mask_in_space(load_template(spacing=space.spacing[0]).brain, space), BRAIN)
    if isinstance(asked, str) and Path(asked).is_file():
        return _filled(mask_in_space(read_labels(asked), space), asked)
    regions = [_region(name, space) for name in ([asked] if isinstance(asked, str) else asked)]
    return _filled(sum(regions[1:], regions[0]), str(asked))


def _region(asked: str, space: Space) -> Any:
    """Return one region's voxels, of both sides where its name tells none."""
    name, _, region = asked.rpartition(":")
    atlas = builtin(space) if name in ("", "builtin") else get(name).resampled_to(space)
    sided = region.strip().casefold() in (known.casefold() for known in atlas.names.values())
    try:
        return (atlas if sided else atlas.merged_hemispheres()).mask(region)
    except InputError as error:
        raise InputError(
            f"--relevance_mask {asked}: no such file, no column of the datalist or of participants.tsv, and {error}; "
            f"give one of these, or {BRAIN}"
        ) from None


def _filled(mask: Any, name: str) -> Any:
    if not mask.any():
        raise InputError(f"--relevance_mask {name}: holds no voxel of the network's grid; is it in the scans' space?")
    return mask
