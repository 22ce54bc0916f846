"""The flow of one queue, from its deliveries to their acknowledgement; knows the stages by protocol."""
