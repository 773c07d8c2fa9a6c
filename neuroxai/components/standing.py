"""What stands of a scan's explanation: a sidecar that can be read, and the files that it lists, whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.io.names import regions_of


def written(sidecar: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return the checksums of files beside a sidecar, by name, for `standing` to compare."""
    return {path.relative_to(sidecar.parent).as_posix(): io.sha256(path) for path in files}


def standing(sidecar: Path, content: bool = True) -> dict[str, Any] | None:
    """Return what a sidecar says, if it and the files that it lists stand whole; else None.

    Parameters
    ----------
    sidecar : pathlib.Path
        May be absent, empty or cut.
    content : bool
        Compare checksums too; without it the files must be there.
    """
    try:
        facts: dict[str, Any] = io.read_json(sidecar)
    except InputError:
        return None
    files = facts.get("files") if isinstance(facts, dict) else None
    if not isinstance(files, dict) or not isinstance(facts.get("prediction"), dict):
        return None
    for name, digest in files.items():
        path = io.inside(sidecar.parent, name)
        if not path.is_file() or (content and io.sha256(path) != digest):
            return None
    return facts


def drop_changed(sidecar: Path, scan: Path) -> None:
    """Remove what stands of a scan that could not be explained now, if it is of a content that the scan has no more."""
    facts = standing(sidecar, content=False)
    if facts is None or not scan.is_file() or facts.get("source_sha256") == io.sha256(scan):
        return
    for name in facts["files"]:
        io.inside(sidecar.parent, name).unlink(missing_ok=True)
    sidecar.unlink()


def names_digest(atlas: Any) -> str | None:
    """Return a checksum of an atlas's names, by which a corrected table of labels is noticed; None without atlas."""
    if atlas is None:
        return None
    return hashlib.sha256(json.dumps(sorted(atlas.names.items())).encode()).hexdigest()


def renamed(heatmap: Path, sidecar: Path, facts: dict[str, Any], atlas: Any) -> dict[str, Any] | None:
    """Bring the names of a scan's regions up to date, in its table and sidecar; None where the regions are others.

    The figures stay: they are sums over the image's values, which a table of names does not change.
    """
    names: Mapping[int, str] = atlas.names
    path = regions_of(heatmap)
    table = io.read_tsv(path, required=("name",), numbers=("index",))
    if sorted(int(index) for index in table["index"]) != sorted(names):
        return None
    table["name"] = [names[int(index)] for index in table["index"]]
    io.write_tsv(path, table)
    facts = {**facts, "names_sha256": names_digest(atlas), "files": {**facts["files"], path.name: io.sha256(path)}}
    io.write_json(sidecar, facts)
    return facts


def check_source(sidecar: Path, source: str, folder: str | None, scan: Path) -> None:
    """Refuse to put a scan's results in the place of another scan's that bears its name.

    A scan that was moved, or whose content has changed at its place, is the same scan.

    Raises
    ------
    InputError
        If results of the scan's name are there, made from another file with another content.
    """
    stem = sidecar.name.split("_space-", 1)[0]
    for path in sorted(sidecar.parent.glob(f"{stem}_space-network_desc-*_heatmap.json")):
        facts = standing(path, content=False)
        if facts is None or (facts.get("source"), facts.get("source_folder")) == (source, folder):
            continue
        if scan.is_file() and facts.get("source_sha256") != io.sha256(scan):
            raise InputError(
                f"{scan}: {path} holds results of another scan of this name, {facts.get('source')} in "
                f"{facts.get('source_folder')}; name another folder, rename the scan, or delete those results"
            )
