"""The errors that end a script with one line in place of a traceback (`mqa_jax.command.run`)."""


class InputError(Exception):
    """Bad input, exit code 2. The message is one line that names the field, the value and the fix."""


class Diverged(Exception):
    """The loss is no longer a number, exit code 1. The last good checkpoint is kept."""


class DoesNotFit(Exception):
    """A planned step needs more memory than its devices have, exit code 1."""
