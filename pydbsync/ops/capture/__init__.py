"""Reads the source's binlog and publishes Maxwell's JSON, without Maxwell."""
