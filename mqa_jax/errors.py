"""The one exception that is the user's to mend."""


class InputError(Exception):
    """Bad input. The message is one line that names the field, the value and the fix.

    `mqa_jax.command.run` prints it without a traceback and exits with code 2.
    """
