"""Training and evaluation: state, the two jitted steps, sharding, checkpoints, the loop."""
