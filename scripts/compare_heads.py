"""`mqa_jax/commands/compare_heads.py` from a checkout; --help says what it does."""

from mqa_jax import start

if __name__ == "__main__":
    start.compare_heads()
