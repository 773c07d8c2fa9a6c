"""MONAI Label's web application, which answers this machine's pages and those that were allowed."""

from __future__ import annotations

import json
import os

from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from monailabel.app import app

from neuroxai.label_app.launch import HOSTS, ORIGINS

# MONAI Label's own setting never fits a page: it compares with a slash at the end (0.8.5)
app.add_middleware(
    CORSMiddleware, allow_origins=json.loads(os.environ[ORIGINS]), allow_methods=["*"], allow_headers=["*"]
)
# a page elsewhere whose name is made to point at this machine carries that name
app.add_middleware(TrustedHostMiddleware, allowed_hosts=json.loads(os.environ[HOSTS]))

__all__ = ["app"]
