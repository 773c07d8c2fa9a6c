"""Opening a trained bundle for prediction and explanation."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from neuroxai.errors import InputError
from neuroxai.io import read_object


def open_bundle(bundle: Path, configs: Sequence[str], **overrides: Any) -> Any:
    """Open a bundle's configuration for inference, quietly.

    Values reach the configuration as they are (`literal`): text is never taken for an expression.

    Returns
    -------
    monai.bundle.ConfigWorkflow
        Initialised.
    """
    files = [bundle / "configs" / name for name in configs]
    known: set[str] = set()
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file; {bundle} is no bundle with {', '.join(configs)}")
        known |= read_object(file, "configuration of a bundle").keys()
    if "evaluator" not in known and "validate" not in known:
        raise InputError(f"{files[0]}: has no 'evaluator', which a bundle of this package needs; restore it")
    read_object(bundle / "configs" / "metadata.json", "bundle's metadata")
    if "checkpoint" not in overrides and not (bundle / "models" / "model.pt").is_file():
        raise InputError(
            f"{bundle}/models/model.pt: no such checkpoint; train the bundle first (see its docs/README.md)"
        )
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # the notice that configurations run code stands in the help text and the README
        warnings.simplefilter("ignore")
        workflow = ConfigWorkflow(
            config_file=[str(f) for f in files],
            meta_file=str(bundle / "configs" / "metadata.json"),
            logging_file=False,
            workflow_type="infer",
            bundle_root=literal(str(bundle.resolve())),
            **{name: literal(value) if isinstance(value, str) else value for name, value in overrides.items()},
        )
        workflow.initialize()
    return workflow


def literal(text: str) -> str:
    r"""Write a text so that MONAI's configurations take it as it is.

    They take ``#`` for ``::`` wherever it stands, and ``@``, ``%`` and ``$`` for references, macros and expressions; in
    an expression that spells these signs out they are none.

    Examples
    --------
    >>> literal("/data/#1")
    "$'/data/\\x231'"
    """
    return "$" + "".join(f"\\x{ord(sign):02x}" if sign in "#@%$:" else sign for sign in ascii(text))
