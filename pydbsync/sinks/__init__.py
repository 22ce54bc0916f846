"""Other targets than MySQL: their rows go to a writer, and how far they went to a keep of its own."""
