"""`python -m pydbsync`."""

if __name__ == "__main__":
    # Not for the processes of workers, which load this file too: they have no use for a command line.
    from pydbsync.cli import main

    main()
