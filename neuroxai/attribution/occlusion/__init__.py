"""How far a class score falls when parts of the scan are replaced."""
