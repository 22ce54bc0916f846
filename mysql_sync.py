"""Follow the queues of config.py: `python mysql_sync.py [--config FILE] [--until-drained] [--dry-run] …`."""

from pydbsync.cli import main_of_script

if __name__ == "__main__":
    main_of_script()
