"""Shell scripts whose commands are spared the imports: a process that has imported everything forks one child for each.

``neuroxai ...``, ``python -m monai.bundle ...`` and ``python scripts/x.py`` of a script run as they would from a
terminal, each in a process of its own with the caller's folder, environment and streams; but a process takes four
seconds to import MONAI and PyTorch anew, and pages print two hundred lines.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

# what asks which shell it is called from runs as the program itself
THEMSELVES = ("--install-completion",)
# what an interpreter does by itself, in a few milliseconds: hand over, wait, leave with the same code
CLIENT = """#!{python} -ISE
import json, os, socket, sys
if {name!r} == "neuroxai" and sys.argv[1] in {themselves!r}:
    os.execv(os.path.join(os.path.dirname({python!r}), "neuroxai"), sys.argv)
line = socket.socket(socket.AF_UNIX)
line.connect({address!r})
told = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(line, [len(told).to_bytes(4, "big")], [0, 1, 2])
line.sendall(told)
code = line.recv(1)
sys.exit(code[0] if code else 70)
"""


def run_here(name: str, words: list[str]) -> None:
    """What ``neuroxai`` or ``python`` with these words does, in this process."""
    if name == "neuroxai":
        from neuroxai.cli.main import main

        sys.argv = ["neuroxai", *words]
        sys.exit(main())
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-":
        sys.argv = words
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")


def child(line: socket.socket) -> None:
    """Take the caller's place, run, and say with which code it ended."""
    size, streams, _, _ = socket.recv_fds(line, 4, 3)
    told = b""
    while len(told) < int.from_bytes(size, "big"):
        told += line.recv(1 << 16)
    name, words, folder, environment = json.loads(told)
    for own, theirs in enumerate(streams):
        os.dup2(theirs, own)
        os.close(theirs)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, closefd=False) for n, mode in enumerate("rww"))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = 0
    try:
        run_here(name, words)
    except SystemExit as leave:
        if isinstance(leave.code, str):
            print(leave.code, file=sys.stderr)
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    # as the interpreter does when it ends: joblib's processes would live on for minutes, and keep the streams open
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        line.sendall(bytes([code & 0xFF]))
    os._exit(0)


def serve(address: str) -> None:
    """Import, then fork a child for every caller, until a signal ends it."""
    # what commands import late, so that no child does
    import monai.bundle.scripts  # noqa: F401
    import nilearn.image  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401

    import neuroxai.cli.explain
    import neuroxai.cli.report
    import neuroxai.components  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(8)
    print("ready", flush=True)
    while True:
        line, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            child(line)
        line.close()


class Shell:
    """Run shell scripts whose ``neuroxai`` and ``python`` are children of the warm process.

    Parameters
    ----------
    programs : pathlib.Path
        The folder ``bin`` that holds these two.
    """

    def __init__(self, programs: Path) -> None:
        self.programs = programs

    def run(
        self, script: str, folder: Path, *, timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess:
        """Run a script with bash in a folder; a failing line ends it."""
        path = f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )


@contextlib.contextmanager
def shell(folder: Path) -> Iterator[Shell]:
    """Start the warm process; it ends with the block."""
    address, programs = str(folder / "warm.sock"), folder / "bin"
    programs.mkdir()
    for name in ("neuroxai", "python"):
        program = programs / name
        program.write_text(CLIENT.format(python=sys.executable, address=address, name=name, themselves=THEMSELVES))
        program.chmod(0o755)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    server = subprocess.Popen(
        [sys.executable, __file__, address], stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
    try:
        if server.stdout is None or server.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the warm process ended with {server.wait()}")
        yield Shell(programs)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


if __name__ == "__main__":
    serve(sys.argv[1])
