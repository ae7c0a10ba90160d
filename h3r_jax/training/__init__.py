"""Training: recipe, state, the jitted step, sharding, checkpoints, the loop."""
