"""A trained bundle goes into a zip file and comes out of it; whatever else such a file holds is refused."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import struct
import subprocess
import zipfile

import monai.bundle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.bundles import AD, copy_of
from helpers.command import run
from neuroxai.bundles import opening, packing
from neuroxai.bundles.contents import CHECKSUMS, RECORD, REFERENCE, WEIGHTS
from neuroxai.bundles.opening import open_packed
from neuroxai.bundles.packing import pack
from neuroxai.components import load_weights
from neuroxai.derivatives import scales
from neuroxai.derivatives.model_card import MODEL_CARD, weights_line, with_section, without_section
from neuroxai.derivatives.trust import FILE as TRUST
from neuroxai.derivatives.trust import TrustCard, write_card
from neuroxai.errors import InputError
from neuroxai.evaluation import held_out
from neuroxai.io import read_json, sha256, write_json
from neuroxai.networks import ad_cnn
from neuroxai.space import mni152

SPACE = mni152(5)


def network():
    return ad_cnn(SPACE.shape, padding="same").eval()


def with_weights(folder):
    """A bundle as training leaves it, without the training."""
    bundle = copy_of(AD, folder / AD.name)
    (bundle / "models").mkdir()
    torch.manual_seed(0)
    torch.save(network().state_dict(), bundle / WEIGHTS)
    record = {
        "checkpoint_sha256": sha256(bundle / WEIGHTS),
        "space": SPACE.to_dict(),
        "classes": ["CN", "AD"],
        "settings": {"normalisation": "zscore"},
        "training_participants": ["sub-00"],
        "versions": {"neuroxai": "0.0.7"},
    }
    write_json(bundle / RECORD, record)
    (bundle / "models" / "last.pt").write_bytes(b"not for sharing")
    (bundle / "eval").mkdir()
    return bundle


@pytest.fixture
def bundle(tmp_path):
    return with_weights(tmp_path)


def test_a_trust_card_travels_with_its_weights_alone(bundle, tmp_path):
    write_card(bundle / "models" / TRUST, TrustCard(checkpoint_sha256=sha256(bundle / WEIGHTS)))
    pack(bundle, tmp_path / "with.zip")
    assert f"{bundle.name}/models/{TRUST}" in zipfile.ZipFile(tmp_path / "with.zip").namelist()
    write_card(bundle / "models" / TRUST, TrustCard(checkpoint_sha256="of weights before"))
    with pytest.raises(InputError, match="no trust card of these weights"):
        pack(bundle, tmp_path / "without.zip")
    assert not (tmp_path / "without.zip").exists()


def test_a_model_card_that_tells_of_other_weights_is_not_packed(bundle, tmp_path):
    card = bundle / MODEL_CARD
    own = card.read_text()
    card.write_text(with_section(own, f"Of these. {weights_line(sha256(bundle / WEIGHTS))}\n"))
    pack(bundle, tmp_path / "with.zip")
    card.write_text(with_section(card.read_text(), f"Of others. {weights_line('0' * 64)}\n"))
    assert "Of these" not in card.read_text()
    with pytest.raises(InputError, match="of other weights"):
        pack(bundle, tmp_path / "without.zip")
    assert not (tmp_path / "without.zip").exists()
    card.write_text(without_section(card.read_text()))
    assert card.read_text() == own


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    pack(with_weights(folder), folder / "good.zip")
    return folder / "good.zip"


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_packed_comes_out(bundle, tmp_path):
    notes = pack(bundle, tmp_path / "a.zip")
    assert len(notes) == 1
    assert "names the participants" in notes[0]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        # as the MONAI Bundle Specification has it: one folder of the model's name
        assert {name.split("/")[0] for name in archive.namelist()} == {AD.name}
    open_packed(tmp_path / "a.zip", tmp_path / "opened")
    wanted, found = files(bundle), files(tmp_path / "opened")
    del wanted["models/last.pt"]
    assert found.keys() == {*wanted, CHECKSUMS}
    changed = {name for name in wanted if found[name] != wanted[name]}
    assert changed == {"configs/metadata.json"}
    check = subprocess.run(["sha256sum", "-c", CHECKSUMS], cwd=tmp_path / "opened", capture_output=True, text=True)
    assert check.returncode == 0
    assert check.stdout.count(": OK") == len(wanted)


def test_two_that_open_into_one_folder(packed, tmp_path, monkeypatch):
    check = opening.check_weights

    def meanwhile(folder, most_bytes):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "other").touch()
        return check(folder, most_bytes)

    monkeypatch.setattr(opening, "check_weights", meanwhile)
    with pytest.raises(InputError, match="was made by another process meanwhile"):
        open_packed(packed, tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["other"]


def test_no_file_of_the_bundle_and_nothing_else_is_overwritten(bundle, tmp_path):
    before = files(bundle)
    for out in (bundle / WEIGHTS, bundle, bundle / "new.zip"):
        with pytest.raises(InputError, match="--out"):
            pack(bundle, out)
    assert files(bundle) == before
    notes = tmp_path / "notes.zip"
    notes.write_text("mine")
    with pytest.raises(InputError, match="exists and is no packed bundle"):
        pack(bundle, notes)
    pack(bundle, tmp_path / "a.zip")
    pack(bundle, tmp_path / "a.zip")


@pytest.mark.parametrize("name", [REFERENCE, f"models/{scales.FILE}", f"models/{held_out.FILE}"])
def test_what_explanations_keep_beside_the_weights_goes_with_it(bundle, tmp_path, name):
    (bundle / name).write_text("{}")
    pack(bundle, tmp_path / "file.zip")
    open_packed(tmp_path / "file.zip", tmp_path / "opened")
    assert (tmp_path / "opened" / name).read_text() == "{}"


def test_metadata_name_the_version_the_grid_and_the_range_of_the_weights(packed, tmp_path):
    open_packed(packed, tmp_path / AD.name)
    metadata = read_json(tmp_path / AD.name / "configs" / "metadata.json")
    assert metadata["required_packages_version"]["neuroxai"] == "0.0.7"
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == list(SPACE.shape)
    assert image["value_range"] == []
    # raises where the network does not take the shape that the metadata name
    configs = tmp_path / AD.name / "configs"
    monai.bundle.verify_net_in_out(
        net_id="network_def", meta_file=str(configs / "metadata.json"), config_file=str(configs / "inference.json"),
        device="cpu", bundle_root=str(tmp_path / AD.name),
    )  # fmt: skip


def test_the_same_bundle_gives_the_same_bytes(bundle, packed, tmp_path):
    for n, path in enumerate(sorted(bundle.rglob("*"))):
        os.utime(path, (1e9 + n, 1e9 + n))
        path.chmod(0o700)
    pack(bundle, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_exports_have_the_logits_of_the_weights(bundle, tmp_path):
    pack(bundle, tmp_path / "a.zip", exports=True)
    open_packed(tmp_path / "a.zip", tmp_path / "opened")
    models = tmp_path / "opened" / "models"
    scans = torch.rand(3, 1, *SPACE.shape)
    with torch.no_grad():
        wanted = load_weights(network(), str(models / "model.pt"))(scans)
        torch.testing.assert_close(torch.export.load(models / "model.pt2").module()(scans), wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.jit.load(models / "model.ts")(scans), wanted, rtol=0, atol=1e-5)


class Code:
    def __reduce__(self):
        return os.system, ("touch executed",)


def pickled():
    buffer = io.BytesIO()
    torch.save({"weight": Code()}, buffer)
    return buffer.getvalue()


def no_state():
    buffer = io.BytesIO()
    torch.save([torch.zeros(3)], buffer)
    return buffer.getvalue()


def link(bundle):
    (bundle / "docs" / "data_license.txt").unlink()
    (bundle / "docs" / "data_license.txt").symlink_to("/etc/passwd")


SPOILT = {
    "no weights": (lambda b: (b / WEIGHTS).unlink(), "no models/model.pt.*train the bundle first"),
    "no record": (lambda b: (b / RECORD).unlink(), "no models/model.json.*train the bundle first"),
    "no licence": (lambda b: (b / "LICENSE").unlink(), "no LICENSE.*restore it"),
    "record of other weights": (
        lambda b: torch.save(ad_cnn(SPACE.shape, padding="same").state_dict(), b / WEIGHTS),
        "describes another checkpoint",
    ),
    "pickled code": (lambda b: (b / WEIGHTS).write_bytes(pickled()), "cannot be read as weights"),
    "no state dict": (lambda b: (b / WEIGHTS).write_bytes(no_state()), "no plain state dict"),
    "no checkpoint": (lambda b: (b / WEIGHTS).write_bytes(b"weights"), "cannot be read as weights"),
    "a link": (link, "docs/data_license.txt is a link"),
    "a program": (lambda b: (b / "configs" / "run.py").write_text(""), "'configs/run.py' has no place"),
    "a scan": (lambda b: (b / "docs" / "sub-01.nii.gz").write_text(""), "'docs/sub-01.nii.gz' has no place"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_must_not_be_shared_is_not_packed(bundle, tmp_path, what):
    spoil, message = SPOILT[what]
    spoil(bundle)
    with pytest.raises(InputError, match=message):
        pack(bundle, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_large_files_are_named(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "LARGE", 300_000)
    notes = pack(bundle, tmp_path / "a.zip")
    assert [note for note in notes if "large_files.yml" in note] == [
        "models/model.pt has 0 MB; a zoo wants files over 25 MB in large_files.yml"
    ]


# a packed bundle taken apart, changed and put together again: [name, content, external_attr]


def taken_apart(packed):
    with zipfile.ZipFile(packed) as archive:
        return [[info.filename, archive.read(info), info.external_attr] for info in archive.infolist()]


def put_together(entries, path, sums=True, method=zipfile.ZIP_DEFLATED):
    if sums:  # whoever changes a file can change its checksum
        for entry in entries:
            if entry[0] == f"{AD.name}/{CHECKSUMS}":
                parts = [(name.partition("/")[2], data) for name, data, _ in entries if name != entry[0]]
                entry[1] = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in parts).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data, attributes in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # the constructor would mend it
            info.external_attr, info.create_system = attributes, 3
            archive.writestr(info, data, method)
    return path


def content(entries, name, data):
    next(entry for entry in entries if entry[0] == f"{AD.name}/{name}")[1] = data


def added(name, data=b"{}", mode=stat.S_IFREG | 0o644):
    return lambda entries: entries.append([name, data, mode << 16])


EVIL = {
    "up": (added(f"{AD.name}/../evil.json"), "has no place"),
    "up and down": (added(f"{AD.name}/configs/../../../evil.json"), "has no place"),
    "up at once": (added("../evil.json"), "one folder"),
    "absolute": (added("/tmp/evil.json"), "one folder"),
    "absolute inside": (added(f"{AD.name}//tmp/evil.json"), "has no place"),
    "drive": (added("C:/evil.json"), "one folder"),
    "backslash": (added(f"{AD.name}/configs\\..\\..\\evil.json"), "has no place"),
    "other folder": (added("elsewhere/configs/evil.json"), "one folder"),
    "hidden": (added(f"{AD.name}/configs/.evil.json"), "has no place"),
    "program": (added(f"{AD.name}/configs/evil.py"), "has no place"),
    "pickle": (added(f"{AD.name}/models/evil.pkl"), "has no place"),
    "folder": (added(f"{AD.name}/configs/more/", b""), "has no place"),
    "link": (added(f"{AD.name}/docs/evil.txt", b"/etc/passwd", stat.S_IFLNK | 0o777), "is a link"),
    "device": (added(f"{AD.name}/docs/evil.txt", b"", stat.S_IFCHR | 0o666), "special file"),
    "twice": (added(f"{AD.name}/LICENSE"), "is there twice"),
    "twice, nearly": (added(f"{AD.name}/docs/readme.md"), "is there twice"),
    "no licence": (
        lambda entries: entries.remove(next(e for e in entries if e[0].endswith("/LICENSE"))),
        "no LICENSE; it is no packed bundle",
    ),
    "pickled code": (lambda entries: content(entries, WEIGHTS, pickled()), "cannot be read as weights"),
    "no state dict": (lambda entries: content(entries, WEIGHTS, no_state()), "no plain state dict"),
    "other record": (lambda entries: content(entries, RECORD, b'{"checkpoint_sha256": "0"}'), "another checkpoint"),
    "nothing": (lambda entries: entries.clear(), "no packed bundle"),
    "many": (lambda e: [added(f"{AD.name}/docs/{n}.txt")(e) for n in range(200)], "files, expected at most 200"),
}


def refused(path, folder, message):
    """Opening is refused with one line that names the file, and leaves nothing behind."""
    folder.mkdir()
    with pytest.raises(InputError, match=message) as caught:
        open_packed(path, folder / "opened")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert list(folder.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("what", EVIL)
def test_an_evil_file_is_refused_and_leaves_nothing(packed, tmp_path, what, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, message = EVIL[what]
    entries = taken_apart(packed)
    change(entries)
    refused(put_together(entries, tmp_path / "evil.zip"), tmp_path / "folder", message)
    assert {p.name for p in tmp_path.iterdir()} == {"evil.zip", "folder"}  # nothing ran, nothing went up


def test_another_content_than_the_checksums_say_is_refused(packed, tmp_path):
    entries = taken_apart(packed)
    content(entries, "configs/inference.json", b'{"run": ["$__import__(\'os\')"]}')
    path = put_together(entries, tmp_path / "a.zip", sums=False)
    refused(path, tmp_path / "one", "configs/inference.json differs from its checksum")
    entries = taken_apart(packed)
    entries.append([f"{AD.name}/docs/more.txt", b"", 0])
    path = put_together(entries, tmp_path / "b.zip", sums=False)
    refused(path, tmp_path / "two", "differ by 'docs/more.txt'")


def test_bombs_are_refused_before_they_unfold(packed, tmp_path, monkeypatch):
    entries = taken_apart(packed)
    added(f"{AD.name}/docs/bomb.txt", bytes(50_000_000))(entries)
    path = put_together(entries, tmp_path / "bomb.zip")
    assert path.stat().st_size < 1_000_000
    monkeypatch.setattr(opening, "_extract", lambda *_: pytest.fail("something was written"))
    with pytest.raises(InputError, match="expected at most 10000000; --max-bytes allows more"):
        open_packed(path, tmp_path / "opened", most_bytes=10_000_000)

    # a header that lies about the size: not a byte more than it says is written, and the checksum of the zip fails
    monkeypatch.undo()
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 50_000_000), struct.pack("<I", 10)))
    refused(path, tmp_path / "folder", "cannot be read as a packed bundle")


def test_another_packing_than_ours_is_refused(packed, tmp_path):
    path = put_together(taken_apart(packed), tmp_path / "a.zip", method=zipfile.ZIP_LZMA)
    refused(path, tmp_path / "folder", "is encrypted or packed otherwise")


def test_weights_that_unfold_are_refused(packed, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(50_000_000))
    entries = taken_apart(packed)
    content(entries, WEIGHTS, buffer.getvalue())
    path = put_together(entries, tmp_path / "bomb.zip")
    with pytest.raises(InputError, match=r"models/model\.pt: unfolds to 50000000 bytes, expected at most 10000000"):
        open_packed(path, tmp_path / "opened", most_bytes=10_000_000)


NAMES = st.text("./\\:~ aA0_-\0é", max_size=12)


@given(first=st.sampled_from([AD.name + "/", AD.name + "/configs/", AD.name + "/docs/", ""]), rest=NAMES)
def test_no_name_leads_out(packed, tmp_path, first, rest):
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    entries = taken_apart(packed)
    added(first + rest + ".json")(entries)
    path = put_together(entries, tmp_path / "a.zip")
    (tmp_path / "folder").mkdir()
    try:
        open_packed(path, tmp_path / "folder" / "opened")
    except InputError:
        assert list((tmp_path / "folder").iterdir()) == []
    else:
        assert [p.name for p in (tmp_path / "folder").iterdir()] == ["opened"]
    assert {p.name for p in tmp_path.iterdir()} == {"a.zip", "folder"}


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_refused_or_harmless(packed, tmp_path, place, bit, cut):
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    data = bytearray(packed.read_bytes())
    position = int(place * len(data))
    if cut:
        del data[position:]
    else:
        data[position] ^= 1 << bit
    (tmp_path / "a.zip").write_bytes(data)
    try:
        open_packed(tmp_path / "a.zip", tmp_path / "opened")
    except InputError:
        assert {p.name for p in tmp_path.iterdir()} == {"a.zip"}
    else:  # a date, say
        assert not cut
        open_packed(packed, tmp_path / "expected")
        assert files(tmp_path / "opened") == files(tmp_path / "expected")


def test_only_a_new_or_empty_folder_is_filled(packed, tmp_path):
    (tmp_path / "empty").mkdir()
    open_packed(packed, tmp_path / "empty")
    with pytest.raises(InputError, match="is not empty"):
        open_packed(packed, tmp_path / "empty")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(InputError, match="is not empty or no folder"):
            open_packed(packed, tmp_path / name)


def test_on_the_command_line(bundle, tmp_path):
    said = run("bundle", "pack", bundle, "--out", tmp_path / "a.zip")
    assert (said.code, said.out) == (0, f"{tmp_path}/a.zip: sha256 {sha256(tmp_path / 'a.zip')}\n")
    said = run("bundle", "open", tmp_path / "a.zip", tmp_path / "opened")
    assert said.code == 0
    assert "execute code" in said.out
    said = run("bundle", "open", tmp_path / "a.zip", tmp_path / "opened")
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    said = run("bundle", "open", tmp_path / "absent.zip", tmp_path / "other")
    assert said.code == 2
    assert said.err.startswith(f"error: {tmp_path}/absent.zip: cannot be read as a packed bundle")
    said = run("bundle", "pack", AD, "--out", tmp_path / "b.zip")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "train the bundle first" in said.err
