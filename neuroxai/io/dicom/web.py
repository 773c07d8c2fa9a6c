"""DICOMweb: series of an archive fetched into folders, objects sent back to it.

Who asks is told by the environment, never by an address or an option, which end up in logs and lists of processes.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from neuroxai.errors import InputError, NeuroxaiError
from neuroxai.io.dicom.cleaning import is_uid
from neuroxai.io.dicom.opening import BROKEN, imported, value_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

USER, PASSWORD, TOKEN, PLAIN = (
    f"NEUROXAI_DICOMWEB_{name}" for name in ("USER", "PASSWORD", "TOKEN", "ALLOW_UNENCRYPTED")
)
MOST = 100
"""Series that are fetched at once; more are a choice that was not made."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SECONDS = (20, 300)  # until it answers, and between parts of an answer
_AT_ONCE = 16  # objects sent in one request


@dataclass(frozen=True)
class Address:
    """Where a DICOMweb service is, and which of its studies and series are meant.

    Parameters
    ----------
    service : str
        ``https://archive.example/dicom-web``.
    study, series : str, optional
        Their UIDs; all by default.
    """

    service: str
    study: str | None = None
    series: str | None = None

    @staticmethod
    def of(text: object) -> Address | None:
        """Read ``https://HOST/SERVICE[/studies/UID[/series/UID]]``, also as `pathlib` changes it; None if it is none.

        Raises
        ------
        InputError
            If it holds a password, is not encrypted though it leads to another machine, or names no UID.
        """
        found = re.fullmatch(r"(https?):/{1,2}([^/].*)", str(text), re.IGNORECASE)
        if found is None:
            return None
        parts = urlsplit(f"{found[1].lower()}://{found[2]}")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise InputError(
                f"the address of {parts.hostname} holds a user, a query or a mark; give https://HOST/SERVICE alone, "
                f"and who asks in {USER} and {PASSWORD}, {TOKEN}, or ~/.netrc"
            )
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK and os.environ.get(PLAIN) != "1":
            raise InputError(
                f"http://{parts.netloc} is not encrypted, and scans would be read by others on the way; give https://, "
                f"or set {PLAIN}=1 where the network itself is closed"
            )
        path, *rest = re.split(r"/studies(?:/|$)", parts.path.rstrip("/"), maxsplit=1)
        uids = re.fullmatch(r"(?:([\d.]+)(?:/series(?:/([\d.]+))?)?)?", rest[0] if rest else "")
        if uids is None or not all(is_uid(uid) for uid in uids.groups() if uid):
            raise InputError(
                f"{parts.path}: expected /SERVICE, /SERVICE/studies/UID or /SERVICE/studies/UID/series/UID"
            )
        return Address(f"{parts.scheme}://{parts.netloc}{path}", *uids.groups())


@dataclass(frozen=True)
class Offered:
    """A series of an archive."""

    study: str
    uid: str
    number: int | None
    description: str
    modality: str


def search(address: Address, modality: str = "MR", choice: str | None = None) -> list[Offered]:
    """List the series of an archive, by study and number.

    Parameters
    ----------
    address : Address
        The archive.
    modality : str
        Of the series.
    choice : str, optional
        A UID, a number, or a part of the description (capitals count for nothing); all by default.

    Raises
    ------
    InputError
        If the archive cannot be asked, or more than `MOST` fit.
    """
    filters = {"Modality": modality} | ({"SeriesInstanceUID": address.series} if address.series else {})
    fields = ["SeriesDescription", "SeriesNumber", "Modality"]
    from pydicom.dataset import Dataset

    with _asking(address) as client:
        found = [
            Dataset.from_json(one)
            for one in client.search_for_series(
                address.study, search_filters=filters, fields=fields, get_remaining=True
            )
        ]
    offered = [_offered(one, address) for one in found]
    fitting = [one for one in offered if one.modality == modality and _fits(one, choice)]
    if len(fitting) > MOST:
        raise InputError(
            f"{address.service}: {len(fitting)} series of {modality}, expected at most {MOST}; name a study "
            "(/studies/UID), or a part of the series' description"
        )
    return sorted(fitting, key=lambda one: (one.study, one.number is None, one.number or 0, one.uid))


def fetch(address: Address, series: Offered, folder: Path) -> Path:
    """Write the images of a series into a folder, one file each, and return it.

    Raises
    ------
    InputError
        If the archive cannot be asked, or sends nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _asking(address) as client:
        # as they are stored: not every archive decompresses
        images = client.iter_series(series.study, series.uid, media_types=(("application/dicom", "*"),))
        count = 0
        for count, image in enumerate(images, start=1):
            _save(image, folder / f"{count:05d}.dcm")
    if not count:
        raise InputError(f"{address.service}: sent no image of series {series.uid}; ask the archive for it again")
    return folder


def fetch_one(address: Address, choice: str | None, folder: Path) -> Path:
    """Fetch the one MR series that is meant.

    Raises
    ------
    InputError
        As `search` and `fetch`; if there is none or several, listed without descriptions, which may hold names.
    """
    found = search(address, choice=choice)
    if len(found) != 1:
        listed = "".join(f"\n  {one.number}: {one.uid} of study {one.study}" for one in found[:20])
        raise InputError(
            f"{address.service}: {len(found)} MR series, expected one; name the study and the series in the address, "
            f"or choose by --series, a UID, a number or a part of the description:{listed}"
        )
    return fetch(address, found[0], folder)


def fetch_all(address: Address, description: str | None, folder: Path) -> list[Path]:
    """Fetch all MR series that are meant, each into a folder named by its UID.

    Raises
    ------
    InputError
        As `search` and `fetch`; if there is none.
    """
    found = search(address, choice=description)
    if not found:
        raise InputError(f"{address.service}: no MR series of this study and description; name others")
    return [fetch(address, one, folder / one.uid) for one in found]


def store(address: Address, files: Sequence[Path]) -> int:
    """Send objects to an archive and return how many it has taken: all.

    Raises
    ------
    InputError
        If it cannot be asked, or refuses one.
    """
    with _asking(address) as client:
        for start in range(0, len(files), _AT_ONCE):
            part = [imported().dcmread(file) for file in files[start : start + _AT_ONCE]]
            answer = client.store_instances(part)
            taken, refused = (len(answer.get(name) or ()) for name in ("ReferencedSOPSequence", "FailedSOPSequence"))
            if refused or taken < len(part):
                raise InputError(
                    f"{address.service}: the archive took {start + taken} of {len(files)} objects; not every one takes "
                    "Parametric Maps, Segmentations and reports: send it those of --dicom-out that it takes"
                )
    return len(files)


@contextmanager
def _asking(address: Address) -> Iterator[Any]:
    """Yield a client; what goes wrong is a refusal without headers, users and passwords."""
    try:
        import requests
        from dicomweb_client.api import DICOMwebClient
    except ImportError:
        raise InputError("DICOMweb needs dicomweb-client, which is absent; pip install 'neuroxai[dicom]'") from None

    class Session(requests.Session):
        def request(self, *words: Any, **named: Any) -> Any:
            # some versions of the client wait for ever, others for too short a time
            named |= {"timeout": _SECONDS, "allow_redirects": False}
            if urlsplit(address.service).hostname in _LOOPBACK:
                named["proxies"] = {"http": "", "https": ""}  # a proxy of the environment is another machine
            answer = super().request(*words, **named)
            if answer.is_redirect:  # scans would go where nobody said, encrypted or not
                raise InputError(f"{address.service}: redirects elsewhere; give the address of the service itself")
            return answer

    session, retries = Session(), logging.getLogger("retrying")
    before, retries.disabled = retries.disabled, True  # it writes a traceback of every failure to the screen
    user, token = os.environ.get(USER), os.environ.get(TOKEN)
    if token:
        session.auth = lambda request: _with_token(request, token)
    elif user:
        session.auth = (user, os.environ.get(PASSWORD, ""))
    try:
        client = DICOMwebClient(address.service, session=session, permissive_uid=True)
        client.set_http_retry_params(retry=False)
        yield client
    except NeuroxaiError:
        raise
    except requests.exceptions.SSLError:
        reason = "its certificate is not trusted; name the file of its authority in REQUESTS_CA_BUNDLE"
    except requests.exceptions.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        reason = f"the archive answered {status}" + (
            f"; say who asks in {USER} and {PASSWORD}, {TOKEN}, or ~/.netrc" if status in (401, 403) else ""
        )
    except requests.exceptions.RequestException as error:
        reason = f"cannot be reached ({type(error).__name__}); check the address, and that the archive runs"
    except OSError:  # of this machine's disk
        raise
    except BROKEN as error:
        reason = f"what the archive answered cannot be understood ({type(error).__name__}); is it a DICOMweb service?"
    else:
        return
    finally:
        retries.disabled = before
        session.close()
    raise InputError(f"{address.service}: {reason}")


def _with_token(request: Any, token: str) -> Any:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _offered(found: Dataset, address: Address) -> Offered:
    number = str(value_of(found, "SeriesNumber") or "")
    return Offered(
        study=str(value_of(found, "StudyInstanceUID") or address.study or ""),
        uid=str(value_of(found, "SeriesInstanceUID") or ""),
        number=int(number) if number.lstrip("-").isdigit() else None,
        description=str(value_of(found, "SeriesDescription") or ""),
        modality=str(value_of(found, "Modality") or ""),
    )


def _fits(one: Offered, choice: str | None) -> bool:
    if choice is None:
        return True
    wanted = choice.strip()
    return wanted in (one.uid, str(one.number)) or (bool(wanted) and wanted.lower() in one.description.lower())


def _save(image: Dataset, file: Path) -> None:
    # pydicom 2, beside MONAI Label, has another word for it
    whole = {"enforce_file_format": True} if int(imported().__version__[0]) > 2 else {"write_like_original": False}
    image.save_as(file, **whole)
