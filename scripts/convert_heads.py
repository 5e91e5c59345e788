"""`mqa_jax/commands/convert_heads.py` from a checkout; --help says what it does."""

from mqa_jax import start

if __name__ == "__main__":
    start.convert_heads()
