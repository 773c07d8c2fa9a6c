"""Starting the server: on loopback, in a working folder of its own, with nothing fetched from anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from neuroxai.cohort import find_scans
from neuroxai.errors import InputError
from neuroxai.io import write_json

APP = Path(__file__).parent
# variables through which the started process is told
ORIGINS, HOSTS, OWN_TEMPORARY = "NEUROXAI_LABEL_ORIGINS", "NEUROXAI_LABEL_HOSTS", "NEUROXAI_LABEL_TMP"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def command(
    bundles: Path, scans: Path, work: Path, host: str, port: int, device: str, origins: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts the server, and its environment; make the working folder.

    Parameters
    ----------
    bundles : Path
        A trained bundle, or a folder of bundles.
    scans : Path
        A folder of NIfTI files, or of BIDS.
    work : Path
        Folder of the server's logs; MONAI Label writes into the app's folder, so the app is copied there.
    host, port
        Where it listens.
    device : str
        cpu, cuda or auto.
    origins : sequence of str
        Web pages that may speak to it, such as an OHIF on another port.

    Raises
    ------
    InputError
        If MONAI Label is absent, or a folder is.
    """
    if find_spec("monailabel") is None:
        raise InputError(
            "MONAI Label is not installed here, and needs an environment of its own; "
            "start it with: bash scripts/label_env.sh neuroxai label start BUNDLES SCANS"
        )
    for folder, what in ((bundles, "a trained bundle or a folder of them"), (scans, "the scans")):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected that of {what}")
    work.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(APP / "main.py", work / "main.py")
    store = data_store(scans.resolve(), work)
    (work / "logs").mkdir(exist_ok=True)
    # what is sent lands in a folder that is this server's alone: from nowhere else are files taken by their path
    temporary = work / "tmp" / str(port)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write_json(work / "logging.json", _logging(work / "logs" / "app.log"))
    own = [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost")]
    environment = {
        **os.environ,
        "TMPDIR": str(temporary.resolve()),
        OWN_TEMPORARY: str(temporary.resolve()),
        "MONAI_LABEL_APP_DIR": str(work.resolve()),
        "MONAI_LABEL_STUDIES": str(store),
        "MONAI_LABEL_APP_CONF": json.dumps({"bundles": str(bundles.resolve()), "device": device}),
        "MONAI_LABEL_SERVER_PORT": str(port),
        # without origins MONAI Label lets any web page in the user's browser read the scans
        "MONAI_LABEL_CORS_ORIGINS": json.dumps(own),
        ORIGINS: json.dumps([*own, *origins]),
        HOSTS: json.dumps([*LOOPBACK, "[::1]"] if host in LOOPBACK else ["*"]),
        "MONAI_LABEL_TASKS_TRAIN": "false",
        "MONAI_LABEL_TASKS_SCORING": "false",
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(["*.nii.gz", "*.nii"]),
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": json.dumps({"Modality": "MR"}),
        "HF_HUB_OFFLINE": "1",
    }
    words = [
        *(sys.executable, "-m", "uvicorn", "neuroxai.label_app.serve:app"),
        *("--host", host, "--port", str(port)),
        *("--log-config", str(work.resolve() / "logging.json")),
    ]
    return words, environment


def _logging(file: Path) -> dict[str, object]:
    """Say what happens on standard error and in the file that the server's /logs shows."""
    handlers = {
        "screen": {"class": "logging.StreamHandler", "formatter": "plain"},
        "file": {
            "class": "logging.handlers.RotatingFileHandler",
            "formatter": "plain",
            "filename": str(file.resolve()),
            "maxBytes": 10_000_000,
            "backupCount": 2,
        },
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": handlers,
        "root": {"level": "INFO", "handlers": list(handlers)},
        # its messages hold every request with the paths of scans
        "loggers": {"monailabel": {"level": "WARNING"}},
    }


def data_store(scans: Path, work: Path) -> Path:
    """Return a flat folder of links to the scans, which is all that MONAI Label looks through.

    What viewers save lands there, beside the links and never among the user's scans.

    Raises
    ------
    InputError
        If there is no scan, or two have one name.
    """
    found = sorted(path for path in scans.iterdir() if path.name.endswith((".nii", ".nii.gz")))
    if not found and any(scans.glob("sub-*")):
        found = [scans / scan.image for scan in find_scans(scans, run="all")[0]]
    if not found:
        raise InputError(
            f"{scans}: holds no NIfTI scan (.nii, .nii.gz) and no BIDS folder (sub-*); name another folder"
        )
    names = [path.name for path in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"{scans}: two scans are named {twice}, expected names of their own; rename one")
    store = work / "scans" / hashlib.sha256(str(scans).encode()).hexdigest()[:12]
    store.mkdir(parents=True, exist_ok=True)
    for link in store.iterdir():
        if link.is_symlink() and link.name not in names:
            link.unlink()
    for path in found:
        link = store / path.name
        if link.is_symlink() and os.readlink(link) != str(path):
            link.unlink()  # the scan of this name was moved
        if not link.is_symlink():
            link.symlink_to(path)
    return store
