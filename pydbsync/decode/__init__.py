"""From bytes to changes, once, at the border."""
