from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neuroxai.errors import InputError, refused_by_the_system
from neuroxai.io import atomic, inside, one_at_a_time, sha256, write_text


def test_atomic_replaces_when_the_block_ends_well(tmp_path):
    path = tmp_path / "new/x.txt"
    with atomic(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
        assert temporary.name.endswith("x.txt")
    assert path.read_text() == "one"
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half") / 0
    assert path.read_text() == "one"
    assert os.listdir(path.parent) == ["x.txt"]


def test_a_kill_leaves_the_old_file(tmp_path):
    (tmp_path / "x.txt").write_text("old")
    code = (
        "import os, signal, sys\nfrom neuroxai.io import atomic\n"
        "with atomic(sys.argv[1]) as t:\n    t.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.txt")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "x.txt").read_text() == "old"


def test_what_a_killed_run_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    code = (
        "import os, signal, sys\nfrom neuroxai.io import atomic\n"
        "with atomic(sys.argv[1]) as t:\n    t.write_text('half')\n    print(t.name, flush=True)\n"
        "    {}\n"
    )
    kill = code.format("os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", kill, str(tmp_path / "killed.txt")], check=False, stdout=subprocess.PIPE)
    (tmp_path / ".mine.tmp.txt").touch()  # none of ours
    command = [sys.executable, "-c", code.format("sys.stdin.read()"), str(tmp_path / "slow.txt")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        at_work = other.stdout.readline().strip()
        assert len(os.listdir(tmp_path)) >= 2
        with atomic(tmp_path / "x.txt") as temporary:
            temporary.touch()
        assert sorted(os.listdir(tmp_path)) == sorted([at_work, ".mine.tmp.txt", "x.txt"])
        other.communicate("")
    assert sorted(os.listdir(tmp_path)) == [".mine.tmp.txt", "slow.txt", "x.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_told_with_the_file(tmp_path):
    with (
        pytest.raises(OSError, match="No space left") as told,
        atomic(tmp_path / "x.txt"),
        open("/dev/full", "w") as full,
    ):
        full.write("one")
    assert refused_by_the_system(told.value) == f"{tmp_path / 'x.txt'}: No space left on device; make room"


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file, expected a folder"), atomic(tmp_path / "file/x.txt"):
        pass


def test_inside(tmp_path):
    (tmp_path / "a").mkdir()
    assert inside(tmp_path, "a/x") == (tmp_path / "a/x").resolve()
    assert inside(tmp_path, ".") == tmp_path.resolve()
    for follow in (True, False):
        for path in ("../x", "a/../../x", "/etc/passwd"):
            with pytest.raises(InputError, match="leaves the folder"):
                inside(tmp_path, path, follow_links=follow)
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(InputError, match="leaves the folder"):
        inside(tmp_path, "out/passwd")
    assert inside(tmp_path, "out/passwd", follow_links=False) == tmp_path / "out/passwd"
    # a sibling whose name starts alike is not inside
    with pytest.raises(InputError):
        inside(tmp_path / "a", "../ab")


def test_sha256(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where no folder can be made")
def test_a_place_where_no_folder_can_be_made_is_refused():
    with pytest.raises(InputError, match="/proc/results: no folder can be made there; choose another path"):
        write_text("/proc/results/a.txt", "a")


def test_one_process_at_a_time_changes_what_all_share(tmp_path):
    folder = tmp_path / "new"

    def add(_):
        with one_at_a_time(folder):
            file = folder / "count"
            count = int(file.read_text()) if file.exists() else 0
            time.sleep(0.01)
            file.write_text(str(count + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert [path.name for path in folder.iterdir()] == ["count"]
    assert (folder / "count").read_text() == "24"
