"""The command `scdataset`, where no script of that name is on the path."""

from .cli import main

if __name__ == "__main__":  # processes that are spawned import this module again
    main()
