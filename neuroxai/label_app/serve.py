"""The web application: our routes beside MONAI Label's ``/info``, and reasons instead of errors.

MONAI Label's other routes are left out, not guarded: they write through the links of a data store, unpack archives to
wherever those say, replace weights and start processes (0.8.5), and a later version may have more.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, StarletteHTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.endpoints import info, login
from monailabel.interfaces.utils.app import app_instance

from neuroxai._version import __version__
from neuroxai.errors import NeuroxaiError
from neuroxai.label_app.launch import HOSTS, ORIGINS
from neuroxai.label_app.routes import router
from neuroxai.label_app.scans import TakenNameError, UnknownScanError, UnreadableScanError
from neuroxai.label_app.task import spoken

_log = logging.getLogger(__name__)
_STATUS = {UnknownScanError: 404, TakenNameError: 409, UnreadableScanError: 400, NeuroxaiError: 422}
_LEFT_OUT = {
    "train": "this server does not train; train a bundle with `neuroxai train`",
    "datastore": "scans are neither changed nor removed here, labels are not kept; save a segmentation in the viewer",
    "session": "a session is made by PUT /session/, asked for by GET and ended by DELETE /session/{session_id}",
    "batch": "one scan is explained at a time here; `neuroxai explain` explains a cohort",
    "scoring": "labels are not scored here",
    "model": "weights are neither sent nor taken here; a bundle is a folder on the server's machine",
    "infer": "one 3D scan is explained by POST /infer/{model}; slides of pathology are not",
    "ohif": "OHIF is a page of its own here, which --allow-origin lets in; see the how-to page of MONAI Label",
    "proxy": "an archive is asked at its own address; this server passes nothing on",
    "reload": "the server is not loaded anew by a request; restart `neuroxai label start`",
}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    instance = app_instance()
    instance.server_mode(True)
    instance.on_init_complete()
    yield


class Discreet:
    """Log where an unexpected error arose and not its message, which may name a scan."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on; 500 for what nobody refused."""
        begun = False

        async def noted(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            if scope["type"] != "http":
                raise
            frames = "".join(traceback.format_tb(error.__traceback__))
            _log.error("unexpected %s at\n%s", type(error).__name__, frames)
            if not begun:
                reason = f"unexpected {type(error).__name__}; the server's log says where"
                await JSONResponse({"detail": reason}, 500)(scope, receive, send)


def _refused(request: Request, error: NeuroxaiError) -> JSONResponse:
    status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
    _log.info("refused: %s (%d)", type(error).__name__, status)
    return JSONResponse({"detail": spoken(error)}, status)


def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    # what was sent is left out of the answer: it may be a file, or no text at all
    said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return JSONResponse({"detail": spoken(said)}, 422)


def _absent(request: Request, error: StarletteHTTPException) -> JSONResponse:
    detail = error.detail
    if error.status_code in (404, 405) and detail == HTTPStatus(error.status_code).phrase:
        first = request.url.path.strip("/").split("/")[0]
        detail = _LEFT_OUT.get(first, "there is no such request on this server; / lists those that are")
    # half a pair of surrogates, which JSON may hold, is no text
    said = str(detail).encode("utf-8", "replace").decode()
    return JSONResponse({"detail": said}, error.status_code, headers=error.headers)


app = FastAPI(title="neuroxai", version=__version__, lifespan=_lifespan, docs_url="/", redoc_url=None)
app.include_router(info.router)
if settings.MONAI_LABEL_AUTH_ENABLE:
    app.include_router(login.router)
app.include_router(router)
app.add_exception_handler(NeuroxaiError, _refused)
app.add_exception_handler(RequestValidationError, _invalid)
app.add_exception_handler(StarletteHTTPException, _absent)
app.add_middleware(Discreet)
app.add_middleware(
    CORSMiddleware, allow_origins=json.loads(os.environ[ORIGINS]), allow_methods=["*"], allow_headers=["*"]
)
# a page elsewhere whose name is made to point at this machine carries that name
app.add_middleware(TrustedHostMiddleware, allowed_hosts=json.loads(os.environ[HOSTS]))

__all__ = ["app"]
