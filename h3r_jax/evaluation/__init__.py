"""Protocols as data, the evaluator, and what an evaluation prints and draws."""
