"""What a network really computes: run it once and keep the calls from inputs to output. Knows no method."""
