"""The benchmark suite: python -m benchmarks (or make bench). Every figure beside its peers and
beside the machine's limit.
"""
