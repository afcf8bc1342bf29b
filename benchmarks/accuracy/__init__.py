"""Accuracy against wall time: our presets over several seeds, and peers on the same split, in as
many minutes on the same cores.

python -m benchmarks.accuracy; hours. What is done is not done again, and a run of ours that was
interrupted goes on; one of a peer begins anew.
"""
