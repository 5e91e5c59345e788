"""The errors that end a command with one line in place of a traceback (`mqa_jax.command.run`)."""

import errno

NO_ROOM = errno.ENOSPC, errno.EDQUOT, errno.EFBIG  # of an OSError: a disk, a quota or a limit is full


class Ended(Exception):
    """The message is the line. The exit code says who can mend it."""

    code = 1


class InputError(Ended):
    """Bad input. The message names the field, the value and the fix."""

    code = 2


class Diverged(Ended):
    """The loss is no longer a number, or jumped. The last good checkpoint is kept."""


class DiskFull(Ended):
    """There is no room for what is to be written. What was written before is kept."""


class DoesNotFit(Ended):
    """A planned step needs more memory than its devices have."""


class Stopped(Ended):
    """The user asked the work to stop and it did in good order. The message says how to go on."""

    code = 0
