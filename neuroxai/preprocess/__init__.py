"""From a scanner's file to a network's input and back: registration arms, lesion filling, quality checks."""
