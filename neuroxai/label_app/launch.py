"""Starting the server: on loopback, in a working folder of its own, with nothing fetched from anywhere."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from neuroxai.errors import InputError
from neuroxai.io import write_json
from neuroxai.io.dicom.web import Address, fetch_all
from neuroxai.label_app.scans import scans_of

APP = Path(__file__).parent
ORIGINS, HOSTS = "NEUROXAI_LABEL_ORIGINS", "NEUROXAI_LABEL_HOSTS"  # variables that the started process reads
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def command(
    bundles: Path, scans: Path, work: Path, host: str, port: int, device: str, origins: Sequence[str], archive: str = ""
) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts the server, and its environment; make the working folder.

    Parameters
    ----------
    bundles : Path
        A trained bundle, or a folder of bundles.
    scans : Path
        A folder of NIfTI files, of BIDS, or of DICOM series.
    work : Path
        Folder for all that the server writes: its log, what viewers send, temporary files.
    host, port
        Where it listens.
    device : str
        cpu, cuda or auto.
    origins : sequence of str
        Web pages that may speak to it, such as an OHIF on another port.
    archive : str
        DICOMweb service that DICOM Segmentations are sent to.

    Raises
    ------
    InputError
        If MONAI Label or a folder is absent, `work` and `scans` lie in one another, `work` is
            somebody else's, or the port is taken.
    """
    if find_spec("monailabel") is None:
        raise InputError(
            "MONAI Label is not installed here, and needs an environment of its own; "
            "start it with: bash scripts/label_env.sh neuroxai label start BUNDLES SCANS"
        )
    for folder, what in ((bundles, "a trained bundle or a folder of them"), (scans, "the scans")):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected that of {what}")
    inner, outer = work.resolve(), scans.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise InputError(
            f"--work {work} and the scans in {scans} lie in one another; nothing is written among scans: name a folder "
            "of its own with --work"
        )
    scans_of(outer)  # refused here, not in the started process
    check_port(host, port)
    main = work / "main.py"
    ours = main.is_file() and b"neuroxai.label_app" in main.read_bytes()
    if not ours and (found := [name for name in ("main.py", "logging.json", "tmp") if (work / name).exists()]):
        raise InputError(
            f"--work {work} holds {', '.join(found)}, which this server would overwrite and has not written; name an "
            "empty folder, or a new one"
        )
    work.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(APP / "main.py", work / "main.py")
    for part in ("logs", "studies"):
        (work / part).mkdir(exist_ok=True)
    # what is sent lies here, and is gone when the server is started again on this port
    temporary = (work / "tmp" / str(port)).resolve()
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write_json(work / "logging.json", _logging(work / "logs" / "app.log"))
    own = [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost")]
    settings = {
        "bundles": str(bundles.resolve()),
        "scans": str(outer),
        "sent": str(temporary / "sent"),
        "device": device,
        "archive": archive,
    }
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "MONAI_LABEL_APP_DIR": str(work.resolve()),
        "MONAI_LABEL_STUDIES": str((work / "studies").resolve()),
        "MONAI_LABEL_APP_CONF": json.dumps(settings),
        "MONAI_LABEL_SERVER_PORT": str(port),
        # without origins MONAI Label lets any web page in the user's browser read the scans
        "MONAI_LABEL_CORS_ORIGINS": json.dumps(own),
        ORIGINS: json.dumps([*own, *origins]),
        HOSTS: json.dumps([*LOOPBACK, "[::1]"] if host in LOOPBACK else ["*"]),
        "MONAI_LABEL_TASKS_TRAIN": "false",
        "MONAI_LABEL_TASKS_SCORING": "false",
        "MONAI_LABEL_TASKS_BATCH_INFER": "false",
        "MONAI_LABEL_SESSIONS": "false",
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        "HF_HUB_OFFLINE": "1",
        # what others would write in the user's home
        "MPLCONFIGDIR": str((work / "matplotlib").resolve()),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    words = [
        *(sys.executable, "-m", "uvicorn", "neuroxai.label_app.serve:app"),
        *("--host", host, "--port", str(port)),
        *("--log-config", str(work.resolve() / "logging.json")),
        "--no-access-log",  # addresses name scans
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


@contextmanager
def fetched_scans(archive: Address, description: str | None, work: Path, host: str, port: int) -> Iterator[Path]:
    """Fetch the MR series of an archive into a folder beside `work`, which only the user can read, and remove it after.

    Raises
    ------
    InputError
        If the port is taken, or the archive has no such series.
    """
    check_port(host, port)
    folder = work.with_name(f"{work.name}-archive-{port}")
    shutil.rmtree(folder, ignore_errors=True)  # of a server that was killed
    folder.mkdir(parents=True, mode=0o700)
    try:
        fetch_all(archive, description, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_port(host: str, port: int) -> None:
    """Refuse a port that another server listens at, before its files of this port are cleared away."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(f"{host}:{port} cannot be listened at ({error.strerror}); choose another --port") from None
