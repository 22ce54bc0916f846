"""Where deliveries come from: RabbitMQ, a file, or memory."""
