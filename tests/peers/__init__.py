"""Against the real packages, each in its own environment: make peers.

Each module named after a package has a Peer, which trains one of its models on LOG as a user of the
package would. What checkpoints of it hold, and what it scores, is in tests/convert/checkpoints.
"""
