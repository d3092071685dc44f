"""Make `python -m qafila.cli` the same as `qafila`."""

from qafila.cli import main

if __name__ == "__main__":
    main()
