"""The errors that end a script with one line in place of a traceback (`mqa_jax.command.run`)."""


class InputError(Exception):
    """Bad input, exit code 2. The message is one line that names the field, the value and the fix."""


class Diverged(Exception):
    """The loss is no longer a number, or jumped, exit code 1. The last good checkpoint is kept."""


class DiskFull(Exception):
    """There is no room for what is to be written, exit code 1. What was written before is kept."""


class Differs(Exception):
    """Two runs that had to be the same are not, exit code 1."""


class DoesNotFit(Exception):
    """A planned step needs more memory than its devices have, exit code 1."""


class Stopped(Exception):
    """The user asked the work to stop and it did in good order, exit code 0. The message says how to go on."""
