"""As mysql_sync.py, with the shard router: the value of a column picks the suffix of the target database."""

if __name__ == "__main__":
    # Not for the processes of workers, which load this file too: they have no use for a command line.
    from pydbsync.cli import main_of_script

    main_of_script("--shards")
