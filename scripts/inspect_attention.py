"""`mqa_jax/commands/inspect_attention.py` from a checkout; --help says what it does."""

from mqa_jax import start

if __name__ == "__main__":
    start.inspect_attention()
