"""One scan's page."""
