"""What all scripts share: flags, exit codes, quiet libraries, the compilation cache.

Exit codes: 0 done, 1 the work failed (a diverged run), 2 bad input, 130 interrupted.
"""

import inspect
import logging
import os
import pathlib
import re
import sys
from collections.abc import Callable

import jax
from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from mqa_jax.errors import InputError
from mqa_jax.train.loop import Diverged

VERBOSE = flags.DEFINE_bool("verbose", False, "Show what the libraries log.")


def config_flag() -> flags.FlagHolder:
    """`--config=configs/FILE.py[:VARIANT]`, with `--config.block.key=value` for any key of it."""
    return config_flags.DEFINE_config_file(
        "config", None, "Config file and, after a colon, a variant; --config.KEY=VALUE changes a key.", lock_config=True
    )


def run(main: Callable[[], None]) -> None:
    """Parses the flags and runs `main`, turning what the user can mend into one line and exit code 2."""
    try:
        if any(argument in ("-h", "--help", "-help") for argument in sys.argv[1:]):
            print(usage())
            sys.exit(0)
        _parse(sys.argv)
        _quieten()
        enable_compilation_cache()
        main()
    except InputError as error:
        _fail(str(error), 2)
    except Diverged as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on from the last checkpoint or record", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def usage() -> str:
    """The script's docstring and its own flags."""
    script = sys.modules["__main__"]
    lines = [inspect.cleandoc(script.__doc__ or ""), "", "flags:"]
    for flag in _own_flags():
        default = "" if flag.default in (None, False) else f" (default: {flag.default_as_str})"
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    return "\n".join(lines)


def enable_compilation_cache() -> None:
    """Compiled programs are kept between runs, in $MQA_JAX_CACHE or the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = os.environ.get("MQA_JAX_CACHE") or str(pathlib.Path(base) / "mqa_jax")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _parse(argv: list[str]) -> None:
    values = flags.FLAGS
    try:
        left = values(argv)
    except flags.Error as error:
        raise InputError(_one_line(error)) from error
    except (AttributeError, KeyError) as error:
        raise InputError(_unknown_key(argv, error)) from error
    except (OSError, ImportError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(f"cannot read --config: {_one_line(error)}; check the path and the values") from error
    if len(left) > 1:
        raise InputError(f"{left[1]!r} is not a flag; flags are written --name=value (see --help)")
    if "config" in values and values["config"].value is None:
        raise InputError("--config is missing; name a config file, for instance --config=configs/toy.py")
    if "config" in values and not isinstance(values["config"].value, ConfigDict):
        given = next((a.partition("=")[2] for a in argv if a.partition("=")[0].lstrip("-") == "config"), "")
        raise InputError(f"--config={given} cannot be loaded; check the path (configs/toy.py is one)")


def _unknown_key(argv: list[str], error: Exception) -> str:
    """Names the `--config.KEY=VALUE` that ml_collections stumbled over, with its hint where it has one."""
    text = _one_line(error)
    for argument in argv[1:]:
        given = re.match(r"--?(config\.[\w.]+)", argument)
        if given and re.search(rf"\b{given[1].rpartition('.')[2]}\b", text):
            near = re.search(r'Did you mean "(\w+)"', text)
            hint = f"did you mean {near[1]}?" if near else "see mqa_jax/config.py for all keys"
            return f"--{given[1]} is an unknown key; {hint}"
    return f"cannot read the flags: {text}"


def _own_flags() -> list[flags.Flag]:
    mine = {flag.name: flag for flag in flags.FLAGS.get_flags_for_module(sys.argv[0])}
    if "config" in flags.FLAGS:
        mine["config"] = flags.FLAGS["config"]
    mine["verbose"] = flags.FLAGS["verbose"]
    return [mine[name] for name in sorted(mine) if not name.startswith("config.")]


def _quieten() -> None:
    if not VERBOSE.value:
        absl_logging.set_verbosity(absl_logging.ERROR)
        logging.getLogger("jax").setLevel(logging.ERROR)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _fail(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
