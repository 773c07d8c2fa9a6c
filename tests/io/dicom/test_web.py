"""DICOMweb against an Orthanc on loopback: what is fetched is the series, what is sent arrives, no password leaks."""

from __future__ import annotations

import logging
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pydicom
import pytest

from helpers.dicom import write_series
from helpers.orthanc import PASSWORD, USER, orthanc
from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.io.dicom import web
from neuroxai.io.dicom.web import Address
from neuroxai.space import Space, Volume

STUDY = "2.25.4711"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example/dicom-web", Address("https://a.example/dicom-web")),
        ("https:/a.example/dicom-web/", Address("https://a.example/dicom-web")),  # as a path
        ("HTTPS://a.example:8443/studies/1.2.3", Address("https://a.example:8443", "1.2.3")),
        ("https://a.example/x/studies/1.2/series/1.3", Address("https://a.example/x", "1.2", "1.3")),
        ("http://localhost:8042/dicom-web/studies", Address("http://localhost:8042/dicom-web")),
        ("cohort/https", None),
        ("/data/series", None),
    ],
)
def test_addresses(text, expected):
    assert Address.of(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://archive.example/dicom-web", "is not encrypted"),
        ("https://me:pass-word@archive.example/x", "holds a user"),
        ("https://archive.example/x?token=pass-word", "holds a user, a query"),
        ("https://archive.example/x/studies/../secret", "expected /SERVICE"),
        ("https://archive.example/x/studies/1.2/series/1.3/frames/1", "expected /SERVICE"),
    ],
)
def test_addresses_that_are_refused(text, reason, monkeypatch):
    with pytest.raises(InputError, match=reason) as refused:
        Address.of(text)
    assert "pass-word" not in str(refused.value)
    monkeypatch.setenv(web.PLAIN, "1")
    assert Address.of("http://archive.example/x") == Address("http://archive.example/x")


@pytest.fixture(scope="module")
def scan():
    values = np.random.default_rng(1).integers(0, 900, (12, 11, 10)).astype(np.float32)
    return Volume(values, Space(values.shape, np.diag([2.0, 2.0, 3.0, 1.0])))


@pytest.fixture(scope="module")
def stocked(tmp_path_factory, scan):
    """An archive with two MR series and one of CT in a study, and the folder of the first."""
    folder = tmp_path_factory.mktemp("archive")
    with orthanc(folder / "orthanc") as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv(web.USER, USER)
        patch.setenv(web.PASSWORD, PASSWORD)
        names = {"T1": "t1_mprage Doe", "T2": "t2_flair Doe"}
        for number, (name, description) in enumerate(names.items(), start=1):
            tags = {"StudyInstanceUID": STUDY, "SeriesDescription": description, "SeriesNumber": number}
            files = write_series(folder / name, scan, uid=f"2.25.81{number}", **tags)
            web.store(Address.of(url), files)
        files = write_series(folder / "CT", scan, uid="2.25.99", StudyInstanceUID=STUDY, Modality="CT")
        web.store(Address.of(url), files)
        yield Address.of(url), folder


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setenv(web.USER, USER)
    monkeypatch.setenv(web.PASSWORD, PASSWORD)


def test_series_are_found_by_modality_and_description(stocked, known, monkeypatch):
    archive, _ = stocked
    assert [(one.study, one.uid, one.number) for one in web.search(archive)] == [
        (STUDY, "2.25.811", 1),
        (STUDY, "2.25.812", 2),
    ]
    for choice in ("FLAIR", "2", "2.25.812"):
        assert [one.uid for one in web.search(archive, choice=choice)] == ["2.25.812"]
    assert [one.uid for one in web.search(archive, modality="CT")] == ["2.25.99"]
    assert [one.uid for one in web.search(Address(archive.service, STUDY, "2.25.811"))] == ["2.25.811"]
    monkeypatch.setattr(web, "MOST", 1)
    with pytest.raises(InputError, match="2 series of MR, expected at most 1"):
        web.search(archive)


def test_what_is_fetched_is_the_series(stocked, known, scan, tmp_path):
    archive, folder = stocked
    fetched, _ = io.read_series(web.fetch_one(archive, "mprage", tmp_path / "one"))
    expected, _ = io.read_series(folder / "T1")
    np.testing.assert_array_equal(fetched.data, expected.data)
    np.testing.assert_array_equal(fetched.space.affine, expected.space.affine)
    every = web.fetch_all(Address(archive.service, STUDY), None, tmp_path / "all")
    assert [path.name for path in every] == ["2.25.811", "2.25.812"]
    with pytest.raises(InputError, match="2 MR series, expected one") as refused:
        web.fetch_one(archive, None, tmp_path / "several")
    assert "2.25.811" in str(refused.value)
    assert "Doe" not in str(refused.value)
    with pytest.raises(InputError, match="no MR series"):
        web.fetch_all(archive, "dwi", tmp_path / "none")


def test_objects_that_are_sent_arrive(stocked, known, tmp_path):
    archive, folder = stocked
    origin = io.read_origin(folder / "T1")
    about = io.Description("saliency for AD", "saliency", {}, "AD", "seed", density=100.0)
    heatmap = Volume(np.ones(origin.space.shape, np.float32), origin.space)
    path = io.write_parametric_map(tmp_path / "map.dcm", heatmap, origin, about)
    assert web.store(archive, [path]) == 1
    uid = pydicom.dcmread(path).SeriesInstanceUID
    (found,) = web.search(archive, modality="OT", choice=uid)
    web.fetch(archive, found, tmp_path / "back")
    back = io.read_parametric_map(next((tmp_path / "back").iterdir()))
    np.testing.assert_array_equal(back.data, heatmap.data)
    broken = tmp_path / "broken.dcm"
    shutil.copyfile(path, broken)
    foreign = pydicom.dcmread(broken)
    foreign.SOPInstanceUID = ""
    foreign.save_as(broken)
    with pytest.raises(InputError, match=r"took 0 of 1|answered 4|cannot be understood"):
        web.store(archive, [broken])


def test_who_asks_is_told_by_environment_or_netrc_and_never_logged(stocked, tmp_path, monkeypatch, caplog):
    archive, _ = stocked
    caplog.set_level(logging.DEBUG)
    for name in (web.USER, web.PASSWORD, web.TOKEN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(InputError, match=f"the archive answered 401; say who asks in {web.USER}"):
        web.search(archive)
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    assert len(web.search(archive)) == 2
    monkeypatch.setenv(web.TOKEN, "another-" + PASSWORD)  # goes before, and Orthanc knows none
    with pytest.raises(InputError, match="answered 401") as refused:
        web.search(archive)
    monkeypatch.delenv(web.TOKEN)
    monkeypatch.setenv(web.USER, USER)
    monkeypatch.setenv(web.PASSWORD, PASSWORD)
    assert len(web.search(archive)) == 2
    assert PASSWORD not in caplog.text + str(refused.value)


def test_this_machine_is_not_asked_by_a_proxy(stocked, known, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    archive, _ = stocked
    assert len(web.search(archive)) == 2


def test_a_redirect_is_not_followed():
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match="redirects elsewhere"):
            web.search(Address(f"http://127.0.0.1:{server.server_port}/x"))
        server.shutdown()


def test_an_archive_that_is_not_there(caplog):
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/x: cannot be reached"):
        web.search(Address("http://127.0.0.1:9/x"))
    assert not caplog.text


class Empty(BaseHTTPRequestHandler):
    """A DICOMweb service that holds nothing."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_):
        pass


class Elsewhere(Empty):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "http://archive.example/login")
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_certificates_are_checked(tmp_path, monkeypatch):
    """Not by Debian's Orthanc, which ends at the first encrypted request (1.10.1)."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        archive = Address.of(f"https://localhost:{server.server_port}/dicom-web")
        with pytest.raises(InputError, match="its certificate is not trusted"):
            web.search(archive)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
        assert web.search(archive) == []
        server.shutdown()
