"""Our own file formats: each is written and read by one module here, as a typed record."""
