"""As mysql_sync.py, with the shard router: the value of a column picks the suffix of the target database."""

from pydbsync.cli import main_of_script

if __name__ == "__main__":
    main_of_script("--shards")
