"""``python -m neuroxai`` is the ``neuroxai`` command."""

from neuroxai.cli.main import main

if __name__ == "__main__":
    main()
