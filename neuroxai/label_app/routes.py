"""What the server answers: the requests of viewers, in MONAI Label's own form, and none that writes among scans."""

from __future__ import annotations

import json
import random
from collections import deque
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance
from requests_toolbelt import MultipartEncoder

from neuroxai.errors import InputError, one_of
from neuroxai.io import sha256
from neuroxai.io.dicom import web
from neuroxai.label_app.answer import all_bands
from neuroxai.label_app.app import NeuroxaiApp
from neuroxai.label_app.nrrd_file import colour_table
from neuroxai.label_app.scans import KEPT_FOR, Kind, UnknownScanError

router = APIRouter(dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))])


class Output(str, Enum):
    """Parts of an answer."""

    IMAGE = "image"
    JSON = "json"
    ALL = "all"
    DICOM_SEG = "dicom_seg"


class Listing(str, Enum):
    """How much of the data store is listed."""

    STATS = "stats"
    ALL = "all"
    TRAIN = "train"


def _app() -> NeuroxaiApp:
    app: NeuroxaiApp = app_instance()
    return app


@router.post("/infer/{model}", summary="Explain one scan")
def infer(
    asked: Request,
    model: str,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    output: Output = Output.ALL,
) -> Response:
    """Explain a scan of the data store, of a session, or one that is sent along; no other file of the machine."""
    app = _app()
    task = app.task(model)
    if task is None:
        known = ", ".join(sorted(app.info()["models"])) or "none"
        raise HTTPException(404, f"no model is named {model[:100]!r}; those of this server: {known}")
    if asked.headers.get("content-type", "").startswith("application/json"):  # it would be passed over in silence
        raise InputError(
            "the options came as JSON, expected a form with the field params, as curl -F 'params={...}' sends"
        )
    request = _parameters(params)
    image = str(request.get("image") or image)  # what the options name comes first, as in MONAI Label
    sent = None
    try:
        if session_id:
            scan = app.store.path(session_id, "session")
        elif file is not None and "image" not in request:
            scan = sent = app.store.receive([(file.filename or "scan.nii.gz", file.file)])
        elif image:
            scan = app.store.path(image)
        else:
            raise InputError("no scan was named; name an image of the data store or a session, or send a file")
        path, told = task({**request, "image": str(scan), "dicom": output is Output.DICOM_SEG})
    finally:
        if sent is not None:
            app.store.remove(sent)
    try:
        if app.archive is not None and output is Output.DICOM_SEG:
            web.store(app.archive, [Path(path)])
        content = Path(path).read_bytes()
    finally:
        Path(path).unlink()
    if output is Output.JSON:
        return JSONResponse(told)
    name = "explanation" + "".join(Path(path).suffixes)
    if output is Output.ALL:
        parts = MultipartEncoder(
            {
                "params": (None, json.dumps(told), "application/json"),
                "image": (name, content, "application/octet-stream"),
            }
        )
        return Response(parts.to_string(), media_type=parts.content_type)
    kind = "application/dicom" if output is Output.DICOM_SEG else "application/octet-stream"
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _parameters(params: str) -> dict[str, Any]:
    """Read the options of a request; `InputError` unless they are a JSON object."""
    try:
        read = json.loads(params or "{}")
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise InputError('params is no JSON object, expected such as {"method": "saliency"}')
    return read


@router.post("/activelearning/{strategy}", summary="Name a scan to look at")
def next_sample(strategy: str, params: Annotated[dict[str, Any] | None, Body()] = None) -> dict[str, str]:
    """Draw a scan of the data store at random; it is fetched by its name, never by a path."""
    if strategy not in (known := _app().info()["strategies"]):
        raise HTTPException(404, str(one_of("strategy", strategy[:100], known)))
    store = _app().store
    names = [name for name in store.list_images() if store.path(name).is_file()]  # not those sent as DICOM
    if not names:
        return {}
    name = random.choice(names)  # noqa: S311
    return {"id": name, "name": store.file_name(name)}


@router.get("/datastore/", summary="List the scans")
def datastore(output: Listing = Listing.STATS) -> Any:
    """Count the scans, or list them by name."""
    store = _app().store
    if output is Listing.STATS:
        return store.status()
    if output is Listing.TRAIN:
        return []
    objects = {name: {"image": {"info": {"name": store.file_name(name)}}, "labels": {}} for name in store.list_images()}
    return {"name": "neuroxai", "description": "scans, which are only read", "objects": objects}


@router.get("/datastore/image", summary="Download a scan")
def image(image: str) -> FileResponse:
    """Send a scan as it lies on the disk."""
    return _file(image)


@router.head("/datastore/image", summary="Ask whether a scan is there")
def check_image(image: str, check_sum: Annotated[str, Query(pattern="^(SHA256:)?[0-9a-f]{64}$")] = "") -> Response:
    """Say whether a scan is there and, where a checksum is given, is the same; its content is not sent."""
    file = _file(image)
    if check_sum and sha256(file.path) != check_sum.removeprefix("SHA256:"):
        raise HTTPException(404, "the scan of this name is another one (its checksum differs)")
    return Response()


@router.get("/datastore/image/info", summary="What is known of a scan")
def image_info(image: str) -> dict[str, Any]:
    """Return nothing but the name: what a scan is, its file says."""
    return {"name": _app().store.file_name(image)}


@router.put("/datastore/image", summary="Send a scan")
@router.put("/datastore/", summary="Send a scan, as 3D Slicer does")
def add_image(file: Annotated[UploadFile, File()], image: str = "", params: Annotated[str, Form()] = "{}") -> Any:
    """Keep a scan for a while, in the server's own folder."""
    _parameters(params)
    name = image or (file.filename or "").removesuffix(".gz").removesuffix(".nii").removesuffix(".nrrd")
    _app().store.add(name, [(file.filename or "scan.nii.gz", file.file)])
    return {"image": name, "kept_seconds": KEPT_FOR}


@router.put("/session/", summary="Send a scan for this viewer")
def create_session(
    files: Annotated[list[UploadFile], File()], uncompress: bool = False, expiry: int = 0
) -> dict[str, Any]:
    """Keep a scan for a while: one NIfTI or NRRD file, or the DICOM files of a series."""
    if uncompress:
        raise InputError("archives are not unpacked here; send the files themselves, without uncompress")
    identifier = _app().store.open_session([(one.filename or "scan.nii.gz", one.file) for one in files])
    return {"session_id": identifier, "session_info": {"name": identifier, "expiry": KEPT_FOR}}


@router.get("/session/{session_id}", summary="Ask for a session")
def session(session_id: str, update_ts: bool = False, image: bool = False) -> Any:
    """Say that a session is there, or send its scan."""
    if image:
        return _file(session_id, "session")
    _app().store.path(session_id, "session")
    return {"name": session_id, "expiry": KEPT_FOR}


@router.delete("/session/{session_id}", summary="End a session")
def remove_session(session_id: str) -> dict[str, Any]:
    """Remove a session's scan."""
    _app().store.close_session(session_id)
    return {"name": session_id}


@router.get("/colours.ctbl", summary="Colours of the bands for 3D Slicer", response_class=PlainTextResponse)
def colours() -> str:
    """Return the colour table of the bands."""
    return colour_table(all_bands())


@router.get("/logs/", summary="Last lines of the log", response_class=PlainTextResponse)
def logs(lines: Annotated[int, Query(ge=1, le=10_000)] = 300) -> str:
    """Return the log, which names no scan."""
    with (Path(_app().app_dir) / "logs" / "app.log").open(errors="replace") as handle:
        return "".join(deque(handle, lines))


def _file(name: str, kind: Kind = "image") -> FileResponse:
    path = _app().store.path(name, kind)
    if not path.is_file():
        raise UnknownScanError("the scan was sent as DICOM files, or its file is gone; it cannot be fetched")
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)
