"""What routes do to rows: conditions, masks and columns, here for replay and in SQL for who reads the source."""
