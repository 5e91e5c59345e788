"""What all commands share: flags, errors in one line, exit codes, quiet libraries, the compilation cache.

Exit codes: 0 done or stopped in good order, 1 the work failed (a diverged run, a full disk, a plan that does not fit),
2 bad input, 130 interrupted, 141 the reader has gone.
"""

import ast
import dataclasses
import difflib
import errno
import json
import logging
import os
import pathlib
import re
import runpy
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags
from rich.console import Console
from rich.markdown import Markdown

from mqa_jax import files
from mqa_jax.errors import NO_ROOM, Ended, InputError
from mqa_jax.report.selection import baseline_first

flags.disclaim_key_flags()  # what is defined here counts as the calling command's, and so is in its --help

CONFIGS = pathlib.Path(__file__).with_name("configs")  # a link to the checkout's configs/, which wheels get a copy of
CONFIG_HELP = (
    "FILE or FILE:VARIANT, a config and one of its variants; a name without folder and .py is that of a shipped config "
    f"({', '.join(sorted(path.stem for path in CONFIGS.glob('*.py')))}). Or the folder of a run, for what it was run "
    "with. --config.KEY=VALUE behind it changes a key, "
    "for instance --config.train.steps=100; mqa_jax/experiment.py and config.py list them all. Lists are written a,b,c."
)


def config_flag() -> flags.FlagHolder:
    """Defines `--config=FILE[:VARIANT]`, required, with `--config.KEY=VALUE` for any key of the config."""
    config_flags.register_flag_parser_for_type(tuple, _Commas())
    holder = config_flags.DEFINE_config_file("config", None, CONFIG_HELP)
    flags.FLAGS["config"].parser = _ConfigFile()
    flags.mark_flag_as_required("config")
    return holder


def decoding_types() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """Defines `--dtype` and `--cache_dtype`, which decoding may have other than the config's."""
    dtype = flags.DEFINE_enum(
        "dtype", None, ["bfloat16", "float32", "int8"], "Of activations and weights; int8: of the weights alone."
    )
    cache = flags.DEFINE_enum(
        "cache_dtype", None, ["bfloat16", "float32", "int8"], "Of what is kept of past tokens. Default: as dtype."
    )
    return dtype, cache


def decoding_run() -> Sequence[flags.FlagHolder]:
    """Defines the flags of commands that decode with a trained run: what `trained.load` takes, in its order."""
    return (
        flags.DEFINE_string("workdir", None, "Folder of the trained run.", required=True),
        flags.DEFINE_integer("average", 1, "Takes the mean of the last so many checkpoints.", lower_bound=1),
        *decoding_types(),
        flags.DEFINE_integer("config.mesh.tensor", None, "Devices that share one replica. Default: the run's.", 1),
    )


def other_processes() -> Sequence[flags.FlagHolder]:
    """Defines `--distributed` and, in its place, `--coordinator`, `--processes` and `--process`, for `joining`."""
    return (
        flags.DEFINE_bool("distributed", False, "One of several processes, named by the cluster's environment."),
        flags.DEFINE_string("coordinator", None, "One of several processes: HOST:PORT of the first."),
        flags.DEFINE_integer("processes", None, "With --coordinator: how many processes.", lower_bound=1),
        flags.DEFINE_integer("process", None, "With --coordinator: which of them this is, from 0.", lower_bound=0),
    )


def joining(others: Sequence[flags.FlagHolder]) -> tuple[Any, ...] | None:
    """What `processes.join` takes, if this is one of several processes."""
    distributed, *named = others
    given = distributed.value or any(flag.present for flag in named)
    return tuple(flag.value for flag in named) if given else None


def json_flag() -> flags.FlagHolder:
    """Defines `--json`, which programs read what `show` shows to people from."""
    return flags.DEFINE_string("json", None, "Also write the records, one a line as JSON, to this file; - is stdout.")


def show(text: str, records: Iterable[Mapping[str, Any]], json_to: str | None) -> None:
    """Prints a result: `text` for people, and its records to `json_to`. If that is stdout, the text is on stderr."""
    written = "".join(f"{json.dumps(record)}\n" for record in records)
    print(text, file=sys.stderr if json_to == "-" else sys.stdout, flush=True)
    if json_to == "-":
        print(written, end="")
    elif json_to:
        files.write(json_to, written)


def lines(markdown: str) -> str:
    """Markdown for a terminal: as wide as it is, or elsewhere as wide as tables need to be."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    with console.capture() as captured:
        console.print(Markdown(markdown))
    return captured.get().rstrip("\n")


def run(main: Callable[[], None]) -> NoReturn:
    """Parses the flags, runs `main` and exits; what the user can mend is one line on stderr and exit code 2."""
    module = sys.argv[0] if main.__module__ == "__main__" else main.__module__  # as absl calls it
    flags.DEFINE_bool("verbose", False, "Shows what the libraries log.", module_name=module)
    code = 0
    try:
        if {"-h", "-help", "--help"} & set(sys.argv[1:]):
            print(_help(sys.modules[main.__module__].__doc__ or "", module))
        else:
            _parse(sys.argv)
            _quieten(flags.FLAGS.verbose)
            from mqa_jax.kernels import host  # JAX is not needed for --help or to turn down a flag

            enable_compilation_cache()
            host.make_cores_devices()
            main()
        sys.stdout.flush()
    except Ended as ended:
        code = _fail(ended.code, f"error: {ended}" if ended.code else str(ended))
    except KeyboardInterrupt:
        code = _fail(130, "interrupted; given again, train and compare go on where they were")
    except BrokenPipeError:
        _drop_output()
        code = 141
    except OSError as error:
        if error.errno in NO_ROOM:  # a write that fails names no file
            code = _fail(1, f"error: cannot write {error.filename or 'all of it'}: {error.strerror}; make room")
            _drop_output()
        elif error.filename is not None and error.errno in _NO_PLACE:
            code = _fail(2, f"error: cannot use {error.filename}: {error.strerror}")
        else:
            raise
    sys.exit(code)


# What a user can mend: a path that is no place for files.
_NO_PLACE = errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST


def names(holder: flags.FlagHolder) -> list[str]:
    """The values of a list flag; none if it is not given. One that is given must name something."""
    if holder.present and not any(holder.value):
        raise InputError(f"--{holder.name}= names nothing; leave it out, or write names with commas between")
    return holder.value or []


def variants(holder: flags.FlagHolder, every: Iterable[str]) -> list[str]:
    """The variants that a list flag names, the baseline first; or all that there are, a usual baseline first."""
    return names(holder) or baseline_first(every)


def integers(holder: flags.FlagHolder, least: int = 1, below: int = 2**31) -> list[int]:
    """The values of a list flag; none if it is not given."""
    values = holder.value or []
    if not all(value.strip().isdecimal() and least <= int(value) < below for value in values):
        raise InputError(
            f"--{holder.name}={','.join(values)} must be integers of at least {least} and below {below}, with commas "
            "between"
        )
    return [int(value) for value in values]


def check_folder(holder: flags.FlagHolder) -> None:
    """Says no before long work if there is no writing in the folder that a flag names."""
    if holder.value:
        files.check_folder(f"--{holder.name}", holder.value)


def refuse_given(holders: Iterable[flags.FlagHolder], why: str) -> None:
    """Turns down the first of these flags that is on the command line: it would have no effect."""
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
        config = self._of_run(argument) if os.path.isdir(argument) else self._of_file(argument)
        known = [f"--config.{key}" for key in _keys(config)]
        for key in (found[1] for given in sys.argv if (found := re.match(r"--?(?:no)?config\.([^=]*)", given))):
            name = f"--config.{key}"
            if key.split(".")[0] in ("variant", "variants"):  # the file has made the attention of them already
                raise InputError(
                    f"{name} comes too late; choose a variant with --config=FILE:VARIANT, change it with "
                    "--config.attention.KEY=VALUE"
                )
            if name not in known:
                near = " or ".join(difflib.get_close_matches(name, known, 2, 0.75))
                raise InputError(f"{name} is not a key of the config" + (f"; did you mean {near}?" if near else ""))
        return config.lock()

    @staticmethod
    def _of_run(folder: str) -> ConfigDict:
        from mqa_jax import workdir  # which imports JAX, not needed for --help

        run = workdir.owner(pathlib.Path(folder))
        return ConfigDict({**dataclasses.asdict(run), "variants": {run.variant: {}}})

    @staticmethod
    def _of_file(argument: str) -> ConfigDict:
        name, _, variant = argument.partition(":")
        shipped = {path.stem: str(path) for path in CONFIGS.glob("*.py")}
        path = name if os.path.isfile(name) else shipped.get(name, name)
        if not os.path.isfile(path):
            names = ", ".join(sorted(shipped))
            raise InputError(f"--config={argument}: there is no file {path} in {os.getcwd()}; shipped are: {names}")
        try:
            config = runpy.run_path(path)["get_config"](*filter(None, [variant]))
        except InputError as error:
            raise InputError(f"--config={argument}: {error}") from error
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
            where = f" in line {lines[-1]}" if lines else ""
            raise InputError(f"--config={argument} fails{where}: {type(error).__name__}: {error}") from error
        if not isinstance(config, ConfigDict):
            raise InputError(f"--config={argument}: get_config() gave a {type(config).__name__}, not a ConfigDict")
        return config

    def flag_type(self) -> str:
        return "config"


class _Commas(flags.ArgumentParser):
    """Reads `a.en,a.de` as two strings, which ml_collections takes for one; Python literals are what they were.

    It is no `TupleParser`: the values of a tuple flag that is given twice would be added up, and the last one counts.
    """

    def parse(self, argument: str | tuple) -> tuple:
        if isinstance(argument, tuple):
            return argument
        try:
            value = ast.literal_eval(argument)
        except (ValueError, SyntaxError):
            return tuple(filter(None, map(str.strip, argument.split(","))))
        return tuple(value) if isinstance(value, tuple | list) else (value,)

    def flag_type(self) -> str:
        return "tuple"


def _keys(config: ConfigDict, block: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _keys(value, f"{block}{key}.")
        else:
            yield block + key


def _parse(argv: list[str]) -> None:
    try:
        left = flags.FLAGS(argv)
    except (flags.Error, ValueError) as error:
        raise InputError(error) from error
    if left[1:]:
        raise InputError(f"{left[1]!r} is not a flag; flags are written --name=value (--help has them all)")


def _help(usage: str, module: str) -> str:
    """The docstring of a command, as one types it here, and its own flags."""
    program = pathlib.Path(sys.argv[0])
    if program.suffix != ".py":  # an installed command, where there is no checkout
        usage = re.sub(r"configs/(\w+)\.py", r"\1", re.sub(r"python scripts/\w+\.py", program.name, usage))
    own = flags.FLAGS.get_key_flags_for_module(module)
    required = ", ".join(f"--{flag.name}" for flag in own if not all(each.checker(None) for each in flag.validators))
    text = usage + flags.FLAGS.module_help(module).replace(f"{module}:", "flags:", 1)
    return f"{text}\n\nrequired: {required}" if required else text


def _quieten(verbose: bool) -> None:
    absl_logging.set_verbosity(absl_logging.INFO if verbose else absl_logging.ERROR)
    if verbose:
        absl_logging.use_absl_handler()
    else:
        logging.getLogger("jax").setLevel(logging.ERROR)
        # Of what orbax still had to do when a write failed; said at the interpreter's end, behind our one line.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


def _drop_output() -> None:
    """Stdout goes nowhere from here on, or the interpreter's last flush would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(code: int, line: str) -> int:
    print(" ".join(line.splitlines()), file=sys.stderr, flush=True)
    return code
