"""`mqa_jax/commands/import_model.py` from a checkout; --help says what it does."""

from mqa_jax import start

if __name__ == "__main__":
    start.import_model()
