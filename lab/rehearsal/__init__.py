"""`make rehearsal`: a whole migration on private servers, under load, with tools killed on the way."""
