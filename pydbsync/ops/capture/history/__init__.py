"""The source's tables as they were at each place of its binlog, kept up by the DDL that is read."""
