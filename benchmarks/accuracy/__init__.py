"""Accuracy against wall time: our presets over several seeds, and peers on the same split, in as
many minutes on the same cores.

python -m benchmarks.accuracy; hours. It goes on where it was interrupted.
"""
