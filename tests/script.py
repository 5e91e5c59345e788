"""Shows its settings.

    python script.py --config=FILE

Prints JSON.
"""

import json
import sys

from absl import flags

from mqa_jax import command
from mqa_jax.errors import DiskFull, Diverged, InputError, Stopped

CONFIG = command.config_flag()
BATCH = flags.DEFINE_integer("batch", 3, "Sentences at once.", lower_bound=1)
SPLIT = flags.DEFINE_enum("split", "test", ["dev", "test"], "Which split.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
ACTION = flags.DEFINE_string("action", "show", "What to do.")


def main():
    if ACTION.value == "show":
        print(json.dumps(CONFIG.value.to_dict()))
    elif ACTION.value == "wait":
        print("waiting", flush=True)
        sys.stdin.read()
    elif ACTION.value == "pour":
        for line in range(100_000):
            print(line)
    elif ACTION.value == "write":
        with open(WORKDIR.value, "w") as file:
            file.write("some text")
    else:
        kinds = dict(bad=InputError, diverged=Diverged, full=DiskFull, stopped=Stopped, bug=ValueError)
        raise kinds[ACTION.value]("what went wrong")


if __name__ == "__main__":
    command.run(main)
