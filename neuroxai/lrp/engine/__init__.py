"""What applies any rule to any linear operator: forward and backward pass of one layer, its geometry, fast paths."""
