"""What all scripts share: flags, errors in one line, exit codes, quiet libraries, the compilation cache.

Exit codes: 0 done or stopped in good order, 1 the work failed (a diverged run, a full disk, a plan that does not fit),
2 bad input, 130 interrupted, 141 the reader has gone.
"""

import ast
import difflib
import errno
import importlib.util
import logging
import os
import pathlib
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import tuple_parser

from mqa_jax.errors import Differs, DiskFull, Diverged, DoesNotFit, InputError, Stopped

flags.disclaim_key_flags()  # what is defined here counts as the calling script's, and so is in its --help

CONFIG_HELP = (
    "Config file and, after a colon, one of its variants. --config.KEY=VALUE behind it changes a key, for "
    "instance --config.train.steps=100; mqa_jax/config.py lists them all. Lists are written a,b,c."
)


def config_flag() -> flags.FlagHolder:
    """Defines `--config=FILE[:VARIANT]`, required, with `--config.KEY=VALUE` for any key of the config."""
    config_flags.register_flag_parser_for_type(tuple, _Commas())
    holder = config_flags.DEFINE_config_file("config", None, CONFIG_HELP)
    flags.FLAGS["config"].parser = _ConfigFile()
    flags.mark_flag_as_required("config")
    return holder


def process_flags() -> Callable[[], None]:
    """Defines the flags of a run of several processes; gives the function that joins them, if there are any."""
    found = flags.DEFINE_bool("distributed", False, "One of several processes, which the cluster's environment names.")
    coordinator = flags.DEFINE_string("coordinator", None, "One of several processes: HOST:PORT of the first.")
    count = flags.DEFINE_integer("processes", None, "With --coordinator: how many processes.", lower_bound=1)
    index = flags.DEFINE_integer("process", None, "With --coordinator: which of them this is, from 0.", lower_bound=0)

    def join() -> None:
        given = coordinator.value, count.value, index.value
        if found.value or given != (None, None, None):
            from mqa_jax import processes  # JAX is not needed for --help or to turn down a flag

            processes.join(*given)

    return join


def decoding_types() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """Defines `--dtype` and `--cache_dtype`, which decoding may have other than the config's."""
    dtype = flags.DEFINE_enum(
        "dtype", None, ["bfloat16", "float32", "int8"], "Of activations and weights; int8: of the weights alone."
    )
    cache = flags.DEFINE_enum(
        "cache_dtype", None, ["bfloat16", "float32", "int8"], "Of what is kept of past tokens. Default: as dtype."
    )
    return dtype, cache


def run(main: Callable[[], None]) -> NoReturn:
    """Parses the flags, runs `main` and exits; what the user can mend is one line on stderr and exit code 2."""
    flags.DEFINE_bool("verbose", False, "Shows what the libraries log.")
    code = 0
    try:
        if {"-h", "-help", "--help"} & set(sys.argv[1:]):
            print(_help())
        else:
            _parse(sys.argv)
            _quieten(flags.FLAGS.verbose)
            from mqa_jax.kernels import host  # JAX is not needed for --help or to turn down a flag

            enable_compilation_cache()
            host.make_cores_devices()
            main()
        sys.stdout.flush()
    except InputError as error:
        code = _fail(2, f"error: {error}")
    except (DiskFull, Diverged, Differs, DoesNotFit) as error:
        code = _fail(1, f"error: {error}")
    except Stopped as stopped:
        code = _fail(0, str(stopped))
    except KeyboardInterrupt:
        code = _fail(130, "interrupted; given again, train and compare go on where they were")
    except BrokenPipeError:  # stdout goes nowhere from here on, or the interpreter's last flush would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        if error.filename is None or error.errno not in (*_NO_PLACE, *_NO_ROOM):
            raise
        code = _fail(1 if error.errno in _NO_ROOM else 2, f"error: cannot use {error.filename}: {error.strerror}")
    sys.exit(code)


# What a user can mend: a path that is no place for files, or one without room.
_NO_PLACE = errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST
_NO_ROOM = errno.ENOSPC, errno.EDQUOT, errno.EFBIG


def whole_numbers(holder: flags.FlagHolder) -> list[int]:
    """The values of a list flag, as numbers above 0; none if the flag is not given."""
    values = holder.value or []
    if not all(value.strip().isdecimal() and int(value) for value in values):
        raise InputError(f"--{holder.name}={','.join(values)} must be whole numbers above 0 with commas between")
    return [int(value) for value in values]


def refuse_given(holders: Iterable[flags.FlagHolder], why: str) -> None:
    """Turns down the first of these flags that is on the command line: it would have no effect.

    Raises:
      InputError: `--NAME` and `why`.
    """
    for holder in holders:
        if holder.present:
            raise InputError(f"--{holder.name} {why}")


def enable_compilation_cache() -> None:
    """Keeps what took over half a second to compile in $MQA_JAX_CACHE, or mqa_jax in the user's cache folder.

    A folder that is set through JAX's own JAX_COMPILATION_CACHE_DIR stays.
    """
    import jax  # not needed for --help or to turn down a flag

    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = os.environ.get("MQA_JAX_CACHE") or pathlib.Path(base) / "mqa_jax"
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


class _ConfigFile(flags.ArgumentParser):
    """Loads FILE[:VARIANT] and checks the keys of its overrides, which ml_collections turns into flags next."""

    def parse(self, argument: str) -> ConfigDict:
        path, _, variant = argument.partition(":")
        if not os.path.isfile(path):
            raise InputError(f"--config={argument}: there is no file {path} in {os.getcwd()}")
        try:
            config = _load(path).get_config(*filter(None, [variant]))
        except InputError as error:
            raise InputError(f"--config={argument}: {error}") from error
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == os.path.abspath(path)]
            where = f" in line {lines[-1]}" if lines else ""
            raise InputError(f"--config={argument} fails{where}: {type(error).__name__}: {error}") from error
        if not isinstance(config, ConfigDict):
            raise InputError(f"--config={argument}: get_config() gave a {type(config).__name__}, not a ConfigDict")
        known = list(_keys(config))
        for given in sys.argv[1:]:
            override = re.match(r"--?(?:no)?config\.([^=]*)", given)
            if override and override[1] not in known:
                raise InputError(_wrong_key(override[1], known))
        return config.lock()

    def flag_type(self) -> str:
        return "FILE[:VARIANT]"


class _Commas(tuple_parser.TupleParser):
    """Reads `a.en,a.de` as two strings, which ml_collections takes for one; Python literals are what they were."""

    def parse(self, argument: Any) -> tuple:
        if isinstance(argument, str):
            try:
                ast.literal_eval(argument)
            except (ValueError, SyntaxError):
                return tuple(filter(None, map(str.strip, argument.split(","))))
        return super().parse(argument)


def _load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("config_file", os.path.abspath(path))
    if spec is None or spec.loader is None:
        raise InputError("a config is a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _keys(config: ConfigDict, block: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _keys(value, f"{block}{key}.")
        else:
            yield block + key


def _wrong_key(key: str, known: list[str]) -> str:
    inside = [each for each in known if each.startswith(f"{key}.")]
    if inside:
        return f"--config.{key} is a block; set its keys one by one, for instance --config.{inside[0]}=VALUE"
    hint = _nearest(key, known, "--config.") or "; mqa_jax/config.py has them all"
    return f"--config.{key} is not a key of the config{hint}"


def _nearest(name: str, known: Iterable[str], dashes: str) -> str:
    """`; did you mean ...?` with the same last word in other blocks first, then close spellings."""
    known = list(known)
    same = [each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]]
    near = list(dict.fromkeys(same + difflib.get_close_matches(name, known, 2)))[:2]
    return f"; did you mean {' or '.join(dashes + each for each in near)}?" if near else ""


def _parse(argv: list[str]) -> None:
    values = flags.FLAGS
    try:
        left = values(argv)
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        if name.startswith("config.") and "config" in values:
            raise InputError(f"--{name} needs a config before it: --config=FILE") from error
        hint = _nearest(name, (flag.name for flag in _own_flags()), "--") or "; --help has them all"
        raise InputError(f"--{name} is not a flag of {os.path.basename(argv[0])}{hint}") from error
    except flags.Error as error:
        raise InputError(_flag_error(str(error))) from error
    if left[1:]:
        raise InputError(f"{left[1]!r} is not a flag; flags are written --name=value (--help has them all)")


def _flag_error(text: str) -> str:
    """absl's message in the words of a command line."""
    missing = re.search(r"Flag --(\S+) must have a value other than None", text)
    if missing:
        return f"--{missing[1]} is missing; add --{missing[1]}={_placeholder(flags.FLAGS[missing[1]])}"
    early = re.match(r"Found --?(config\.[^\s=]+)\S* in argv before", text)
    if early:
        return f"--{early[1]} needs a config before it: --config=FILE"
    wrong = re.match(r"flag --(?P<name>[^=]+)=(?P<value>.*?): ", text, re.DOTALL)
    if wrong and wrong["name"] in flags.FLAGS:
        flag = flags.FLAGS[wrong["name"]]
        wanted = "true or false" if flag.boolean else flag.parser.syntactic_help
        if wanted:
            return f"--{wrong['name']}={wrong['value']} must be {wanted}"
    return " ".join(text.removeprefix("flag ").split())


def _help() -> str:
    """The script's docstring and its own flags."""
    lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "Flags:"]
    for flag in _own_flags():
        required = any("must have a value" in validator.message for validator in flag.validators)
        value = "" if flag.boolean else f"={_placeholder(flag)}"
        default = "" if flag.default is None or flag.boolean else (flag.default_as_str or "").strip("'")
        note = "  (required)" if required else f"  (default {default})" if default else ""
        lines.append(f"  --{flag.name}{value}{note}")
        meaning = re.sub(r"^<[^>]*>: ", "", flag.help or "")  # absl repeats an enum's choices there
        lines += textwrap.wrap(meaning, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def _own_flags() -> list[flags.Flag]:
    return [flag for flag in flags.FLAGS.get_flags_for_module(sys.argv[0]) if not flag.name.startswith("config.")]


def _placeholder(flag: flags.Flag) -> str:
    """What to write for a flag's value: INT, STRING, FILE[:VARIANT], or the choices of an enum."""
    if isinstance(flag.parser, flags.EnumParser):
        return "|".join(flag.parser.enum_values)
    kind = flag.flag_type() or "value"
    return "A,B,..." if kind.startswith("comma separated") else kind.upper()


def _quieten(verbose: bool) -> None:
    if verbose:
        absl_logging.use_absl_handler()
        absl_logging.set_verbosity(absl_logging.INFO)
    else:
        absl_logging.set_verbosity(absl_logging.ERROR)
        logging.getLogger("jax").setLevel(logging.ERROR)


def _fail(code: int, line: str) -> int:
    print(line, file=sys.stderr, flush=True)
    return code
