"""From a prepared scan back to the scan as the scanner gave it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.io.names import sidecar_of
from neuroxai.preprocess.mapping import Mapping
from neuroxai.space import Space, Volume


@dataclass(frozen=True, eq=False)
class Native:
    """The scan that a prepared one was made from.

    Parameters
    ----------
    space : Space
        Its grid.
    mapping : Mapping
        Between prepared and native world.
    label : str
        BIDS label of its space, ``"T1w"`` or ``"FLAIR"``.
    """

    space: Space
    mapping: Mapping
    label: str

    def __call__(self, prepared: Volume) -> Volume:
        """Bring a map on the prepared scan's space, on any grid, to the native grid (linear)."""
        return self.mapping.carry_back(prepared, self.space)


def native_of(scan: str | os.PathLike[str]) -> Native | None:
    """Find the native scan of a file that `neuroxai prepare` has written; None for any other scan.

    Raises
    ------
    InputError
        If the record beside the scan cannot be used, or a transform is absent.
    """
    path = Path(scan)
    record = sidecar_of(path)
    if not record.is_file():
        return None
    facts = io.read_json(record)
    if not isinstance(facts, dict) or "NativeSpace" not in facts:
        return None
    try:
        space, label, target = Space.from_dict(facts["NativeSpace"]), str(facts["Modality"]), str(facts["Space"])
        participant, session = str(facts["Participant"]), facts["Session"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{record}: does not tell the native scan ({error}); prepare the scan again") from None
    folder = io.named_path(path).parents[3 if session else 2]
    return Native(space, Mapping.load(folder, participant, session, label, target), label)
