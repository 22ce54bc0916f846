"""`python -m pydbsync`."""

from pydbsync.cli import main

if __name__ == "__main__":
    main()
