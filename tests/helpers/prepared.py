"""A prepared scan's record, without a scan."""

from __future__ import annotations

from typing import Any

from neuroxai.derivatives.prepared import PreparedRecord
from neuroxai.space import mni152


def prepared_record(**more: Any) -> PreparedRecord:
    """Return the record of a scan prepared at 16 mm; any field may be another."""
    values: dict[str, Any] = {
        "skull_stripped": True,
        "sources": {"scan": "/data/sub-1_T1w.nii.gz"},
        "inputs": {"scan": "ab"},
        "parameters": {"arm": "linear", "engine": "itk", "spacing": 16.0, "scaling": None},
        "versions": {"neuroxai": "0.1.0"},
        "acquisition": {},
        "brain_from": "template",
        "by_t1w": False,
        "participant": "sub-1",
        "session": None,
        "space": "MNI152",
        "native_space": mni152(16).to_dict(),
        "modality": "T1w",
        "quality": {"dice": 0.9, "orientation": "same"},
        "flags": [],
        "dropped": False,
        "sizes": {},
    }
    return PreparedRecord(**{**values, **more})
