"""Checks that only read: the file set, what must not be committed, and the configurations as text."""

from __future__ import annotations

import ast
import builtins
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neuroxai.bundles.catalogue import WRITTEN
from neuroxai.bundles.checks.trial import Problem, Trial

CONFIGS = ("metadata", "train", "evaluate", "inference", "explain", "multi_gpu_train")
FILES = (
    *(f"configs/{name}.json" for name in CONFIGS),
    "configs/logging.conf",
    "docs/README.md",
    "docs/data_license.txt",
    "LICENSE",
)
LARGEST = 25 * 2**20  # bytes; a zoo wants larger files in large_files.yml
# each overlay with the file it is laid over, and the spelling that runs it
RUNS = {
    "training": ("train",),
    "evaluating": ("train", "evaluate"),
    "inference": ("inference",),
    "explaining": ("inference", "explain"),
}
_PERSONAL = re.compile(r"(/(?:home|root|Users|mnt|media|tmp)/|[A-Za-z]:\\|file://)")
_LITERAL = re.compile(r"(?<!\+ )(?<!\+)(['\"])[/~]")  # joined onto another by + it is no absolute path
_REFERENCE = re.compile(r"@[A-Za-z_][\w#:.]*")


def file_set(trial: Trial) -> None:
    """Check that all files of a zoo bundle are there and not empty."""
    absent = [name for name in FILES if not (trial.source / name).is_file()]
    if absent:
        raise Problem("no " + ", ".join(Path(name).name for name in absent))
    empty = [name for name in FILES if not (trial.source / name).stat().st_size]
    if empty:
        raise Problem("empty: " + ", ".join(empty))


def sources_alone(trial: Trial) -> None:
    """Check that neither weights nor data nor results are committed, and nothing that is too large."""
    expected = {".json", ".conf", ".md", ".txt", ".yml", ".png", ".jpg", ".svg"}
    for path in committed(trial.source):
        name = path.relative_to(trial.source).as_posix()
        if path.is_symlink():
            raise Problem(f"{name} is a link")
        if name.split("/")[0] in WRITTEN or (path.suffix not in expected and name != "LICENSE"):
            raise Problem(f"{name} is committed; weights, data and results are built, not committed")
        if path.stat().st_size > LARGEST:
            raise Problem(f"{name} has more than {LARGEST >> 20} MB; name it in large_files.yml")


def committed(bundle: Path) -> list[Path]:
    """List the files under version control; without git, all but what runs write."""
    listed = subprocess.run(["git", "ls-files", "-z", "."], cwd=bundle, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return [bundle / name for name in listed.stdout.split("\0") if name and (bundle / name).exists()]
    found = (path for path in bundle.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(path for path in found if path.relative_to(bundle).parts[0] not in WRITTEN)


def plain_json(trial: Trial) -> None:
    """Check that configurations are JSON, name no key twice, and hold no path of one machine."""
    for path in sorted((trial.source / "configs").glob("*.json")):
        for value in strings(_read(path)):
            expression = value.startswith("$")
            if _PERSONAL.search(value) or (_LITERAL.search(value) if expression else value[:1] in ("/", "~")):
                raise Problem(f"{path.name}: {value[:80]!r} is a path of one machine")
            if value.startswith("%") and "::" in value:
                raise Problem(f"{path.name}: {value!r} opens a file relative to the working directory")
    readme = (trial.source / "docs" / "README.md").read_text(encoding="utf-8")
    personal = _PERSONAL.search(readme)
    if personal:
        raise Problem(f"docs/README.md names a path of one machine: {personal.group()}")


def spellings(trial: Trial) -> None:
    """Check that ``run NAME`` and a plain ``run`` do the same, whatever the run is."""
    for name, files in RUNS.items():
        merged = _merged(trial, files)
        if not isinstance(merged.get("run"), list) or merged.get(name) != "%run":
            raise Problem(f'{files[-1]}.json: expected "run": [...] and "{name}": "%run", got {merged.get(name)!r}')


def imports(trial: Trial) -> None:
    """Check that every module that an expression uses is imported under the key ``imports``."""
    for files in [*RUNS.values(), ("train", "multi_gpu_train")]:
        merged = _merged(trial, files)
        known = _imported(merged.get("imports"), files[-1])
        for value in strings({key: value for key, value in merged.items() if key != "imports"}):
            unknown = _free_names(value) - known if value.startswith("$") else set()
            if unknown:
                raise Problem(f"{files[-1]}.json: {value[:80]!r} uses {min(unknown)}, which `imports` lacks")


def _merged(trial: Trial, files: tuple[str, ...]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name in files:
        merged.update(_read(trial.source / "configs" / f"{name}.json"))
    return merged


def _imported(entries: Any, name: str) -> set[str]:
    if not isinstance(entries, list):
        raise Problem(f"{name}.json: no list `imports`")
    known = set()
    for entry in entries:
        try:
            (statement,) = ast.parse(str(entry).removeprefix("$")).body
        except (SyntaxError, ValueError):
            statement = ast.Pass()
        if not str(entry).startswith("$") or not isinstance(statement, ast.Import | ast.ImportFrom):
            raise Problem(f'{name}.json: import {entry!r}, expected "$import x" or "$import x.y as z"')
        for alias in statement.names:
            if isinstance(statement, ast.Import) and "." in alias.name and not alias.asname:
                raise Problem(f"{name}.json: {entry!r} leaves {alias.name.split('.')[0]} undefined; add `as`")
            known.add(alias.asname or alias.name)
    return known


def _free_names(expression: str) -> set[str]:
    tree = ast.parse(_REFERENCE.sub("None", expression.removeprefix("$")).strip(), mode="eval")
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return used - bound - set(dir(builtins))


def strings(value: Any) -> Iterator[str]:
    """Yield all texts in a configuration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def _read(path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Problem(f"{path.name} names {twice[0]!r} twice")
        return dict(pairs)

    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except FileNotFoundError:
        raise Problem(f"no {path.name}") from None
    except ValueError as error:
        raise Problem(f"{path.name} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Problem(f"{path.name} holds no object")
    return found
