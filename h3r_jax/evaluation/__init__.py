"""Protocols, the evaluator, and what an evaluation prints and draws."""
