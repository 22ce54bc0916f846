"""What all workers and tools of a configuration are doing, as the state schema and RabbitMQ tell it from anywhere."""
