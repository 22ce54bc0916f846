"""Replays the row changes that Maxwell publishes to RabbitMQ on another MySQL or MariaDB."""

__version__ = "0.1.0"
