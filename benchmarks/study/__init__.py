"""The laboratory: a declared grid of trainings, each decoded in every way, in one table.

    python -m benchmarks.study.arrays --out=DIR          # the examples, as arrays; needs TensorFlow
    python -m benchmarks.study --arrays=DIR              # trains what the table does not have yet
    python -m benchmarks.study.report                    # tables and figures, from the table alone

`grid` declares the trainings. `table` says what the columns are. Nothing but `arrays` needs TensorFlow.
"""
