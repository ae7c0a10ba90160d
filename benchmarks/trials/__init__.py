"""Hostile and unlucky inputs: what happens, by kind. `python -m benchmarks.trials` tries them all."""
