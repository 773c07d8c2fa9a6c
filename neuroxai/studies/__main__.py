"""``python -m neuroxai.studies RUN_FOLDER``: what a study starts for each run."""

import sys
from pathlib import Path

from neuroxai.studies.runner import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
