"""The web page: what status says, what is parked, what differs, and the few things that an operator does about it."""
