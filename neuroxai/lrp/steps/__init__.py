"""The steps of a recorded network, one module a kind of operation: what makes them of a call, and how they run."""
