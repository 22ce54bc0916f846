"""The watch over the source's schema: what it has and no message tells is named."""
