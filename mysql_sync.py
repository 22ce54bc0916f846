"""Follow the queues of config.py: `python mysql_sync.py [--config FILE] [--until-drained] [--dry-run] …`."""

if __name__ == "__main__":
    # Not for the processes of workers, which load this file too: they have no use for a command line.
    from pydbsync.cli import main_of_script

    main_of_script()
