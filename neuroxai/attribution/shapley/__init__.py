"""How regions share a class score out among themselves."""
