"""`mqa_jax/commands/drift.py` from a checkout; --help says what it does."""

from mqa_jax import start

if __name__ == "__main__":
    start.drift()
