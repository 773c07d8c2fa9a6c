"""Pack a trained bundle into one zip file with checksums, and open such a file safely.

Example::

    python scripts/pack_bundle.py pack OUT/bundle --out brain_t1w_alzheimers_classification.zip
    python scripts/pack_bundle.py open brain_t1w_alzheimers_classification.zip OUT/opened

The same bundle gives the same bytes (but for TorchScript, which torch writes in another order each time). A bundle's
configurations execute code when they run: open only files from people you trust. Exit code 0, or 2 with one line where
something cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bundle_zip.contents import MOST_BYTES
from bundle_zip.opening import open_packed
from bundle_zip.packing import pack
from neuroxai.errors import NeuroxaiError, refused_by_the_system
from neuroxai.io import sha256


def main() -> int:
    """Parse, call, say what came out; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="write a trained bundle to a zip file")
    packing.add_argument("bundle", type=Path, help="folder of a trained bundle")
    packing.add_argument("--out", type=Path, required=True, help="the zip file to write")
    packing.add_argument("--exports", action="store_true", help="add the network as .pt2 and TorchScript")
    opening = commands.add_parser("open", help="open such a file into a new folder")
    opening.add_argument("file", type=Path, help="a packed bundle")
    opening.add_argument("folder", type=Path, help="where the bundle is to lie; absent or empty")
    opening.add_argument("--max-bytes", type=int, default=MOST_BYTES, help="largest size opened (default: 2 GiB)")
    options = parser.parse_args()
    try:
        if options.command == "pack":
            for note in pack(options.bundle, options.out, options.exports):
                print(f"note: {note}", file=sys.stderr)
            print(f"{options.out}: sha256 {sha256(options.out)}")
        else:
            open_packed(options.file, options.folder, options.max_bytes)
            print(f"{options.folder}: checksums and weights are right; its configurations execute code when they run")
    except (NeuroxaiError, OSError) as error:
        known = str(error) if isinstance(error, NeuroxaiError) else refused_by_the_system(error)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
