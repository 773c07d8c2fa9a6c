"""Write a trained bundle to a zip file."""

from __future__ import annotations

import hashlib
import json
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from neuroxai._version import __version__
from neuroxai.bundles.contents import (
    ALONE,
    CHECKSUMS,
    EXPORTS,
    NEEDED,
    PART,
    RECORD,
    SUFFIXES,
    WEIGHTS,
    check_name,
    check_weights,
)
from neuroxai.derivatives.model_card import MODEL_CARD, is_of_other_weights
from neuroxai.derivatives.trust import FILE as TRUST
from neuroxai.derivatives.trust import card_of
from neuroxai.errors import InputError
from neuroxai.explain.bundle import classifier_metadata
from neuroxai.io import atomic, check_file

LARGE = 25 * 2**20  # bytes; a zoo wants larger files in large_files.yml


def pack(bundle: Path, out: Path, exports: bool = False) -> list[str]:
    """Write a bundle's configurations, documents and weights to a zip file, whole or not at all.

    All lies in one folder of the bundle's name, as the MONAI Bundle Specification has it.

    Parameters
    ----------
    bundle : pathlib.Path
        A trained bundle.
    out : pathlib.Path
        The file to write.
    exports : bool
        Add the network as ``.pt2`` and TorchScript.

    Returns
    -------
    list of str
        What the user should know.

    Raises
    ------
    InputError
        If the bundle is incomplete or not trained, or its record belongs to other weights.
    """
    bundle = bundle.resolve()
    check_file("--out", out, [bundle], _is_packed, "packed bundle")
    if bundle in out.resolve().parents:
        raise InputError(f"--out {out}: lies in the bundle itself; name a file outside {bundle}")
    if not PART.fullmatch(bundle.name):
        raise InputError(f"{bundle}: a packed bundle has the name of its folder; rename it to letters, digits and _")
    for name in NEEDED:
        if not (bundle / name).is_file():
            way_out = "train the bundle first" if name.startswith("models/") else "restore it"
            raise InputError(f"{bundle}: no {name}, which a packed bundle needs; {way_out}")
    contents = _found(bundle)
    record = check_weights(bundle)
    card = bundle / "models" / TRUST
    if card.is_file() and card_of(bundle / WEIGHTS, str(record.get("checkpoint_sha256"))) is None:
        raise InputError(
            f"{card}: is no trust card of these weights; make it again with `neuroxai trust --attach`, or delete "
            "it and its section of docs/README.md"
        )
    told = (bundle / MODEL_CARD).read_text(encoding="utf-8", errors="replace")
    if is_of_other_weights(told, str(record.get("checkpoint_sha256"))):
        raise InputError(
            f"{bundle / MODEL_CARD}: its trust card is of other weights; make it again with `neuroxai trust --attach`, "
            "or delete the section"
        )
    contents["configs/metadata.json"] = _pinned(bundle, record)
    if exports:
        contents |= _exported(bundle)
    lines = [f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents)]
    contents[CHECKSUMS] = "".join(lines).encode()
    with atomic(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(contents):
            # the oldest date a zip knows: the same bundle gives the same bytes
            entry = zipfile.ZipInfo(f"{bundle.name}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, contents[name], zipfile.ZIP_DEFLATED, compresslevel=6)
    participants = record.get("training_participants")
    notes = [f"{RECORD} names the participants of the training; look whether it may be shared"] if participants else []
    large = [(name, len(data) >> 20) for name, data in contents.items() if len(data) > LARGE]
    return notes + [f"{name} has {size} MB; a zoo wants files over 25 MB in large_files.yml" for name, size in large]


def _is_packed(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(name).name == CHECKSUMS for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _found(bundle: Path) -> dict[str, bytes]:
    """Read what is packed, by name; a link or another kind of file is refused."""
    names = [name for name in ALONE if (bundle / name).is_file() and name not in (CHECKSUMS, *EXPORTS)]
    for folder in SUFFIXES:
        found = (path for path in (bundle / folder).rglob("*") if path.is_symlink() or not path.is_dir())
        names += [path.relative_to(bundle).as_posix() for path in found]
    for name in names:
        if any((bundle / part).is_symlink() for part in (name, *map(str, PurePosixPath(name).parents))):
            raise InputError(f"{bundle}: {name} is a link; put the file itself in its place")
        check_name(name, bundle)
    return {name: (bundle / name).read_bytes() for name in names}


def _pinned(bundle: Path, record: dict[str, object]) -> bytes:
    """Name in the metadata the neuroxai that trained, and the grid and intensities of these weights."""
    metadata = classifier_metadata(bundle)
    versions, space, settings = (record.get(key) for key in ("versions", "space", "settings"))
    image = next(iter(metadata["network_data_format"]["inputs"].values()))
    trained = versions.get("neuroxai") if isinstance(versions, dict) else None
    metadata.setdefault("required_packages_version", {})["neuroxai"] = trained or __version__
    if isinstance(space, dict):
        image["spatial_shape"] = list(space["shape"])
    if isinstance(settings, dict) and settings.get("normalisation", "minmax") != "minmax":
        image["value_range"] = []  # standardised intensities have no bounds
    return (json.dumps(metadata, indent=4, ensure_ascii=False) + "\n").encode()


def _exported(bundle: Path) -> dict[str, bytes]:
    from neuroxai.bundles.checks import exports
    from neuroxai.bundles.checks.properties import quiet

    network, shape = exports.trained_network(bundle)
    with tempfile.TemporaryDirectory() as folder, quiet():
        program, script = (Path(folder) / Path(name).name for name in EXPORTS)
        exports.write_pt2(network, shape, program)
        exports.write_torchscript(network, script)
        return {f"models/{path.name}": path.read_bytes() for path in (program, script)}
