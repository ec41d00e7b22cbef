"""Changes of a configuration on the command line: --config.KEY=VALUE."""

import ast
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxvl import workdir
from jaxvl.cli.common import is_override
from jaxvl.errors import UserError
from jaxvl.keys import nearest


def apply(config: ConfigDict, arguments: Sequence[str]) -> None:
    """Changes the keys that the arguments name, in place.

    arguments: as ml_collections reads them; evaluators are switched off and on as well, with
    --config.evals.NAME=None and with a dict.
    Raises UserError for a key that does not exist, and for a value of another type than the key's.
    """
    switches = [argument for argument in arguments if _is_switch(argument, config)]
    for argument in switches:
        key, value = _parts(argument)
        config.evals[key.removeprefix("evals.")] = _literal(argument, value)
    line = ["jaxvl", *(argument for argument in arguments if argument not in switches)]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=line)
        left = values(line)[1:]
    except (flags.Error, ValueError, TypeError) as error:
        raise UserError(_plain(error, config)) from None
    if left:
        raise UserError(f"{left[0]} belongs to no flag")


def _is_switch(argument, config):
    """Whether an argument switches an evaluator, which is a group of keys or None."""
    if not is_override(argument):
        return False
    key, value = _parts(argument)
    current = _get(config, key, argument)
    is_evaluator = key.startswith("evals.") and key.count(".") == 1
    return is_evaluator and (current is None or isinstance(current, ConfigDict))


def _parts(argument):
    name, _, value = argument.partition("=")
    return name.partition(".")[2], value


def _get(config: ConfigDict, key: str, argument: str) -> Any:
    value, reached = config, []
    for name in key.split("."):
        if value is None:
            group = ".".join(reached)
            raise UserError(f"{argument}: {group} is switched off; give --config.{group} a dict")
        if not isinstance(value, ConfigDict) or name not in value:
            near = nearest(key, workdir.flat(config))
            raise UserError(f"{argument}: the configuration has no key {key}{near}")
        value = value[name]
        reached.append(name)
    return value


def _literal(argument, value):
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        found = value
    if found is not None and not isinstance(found, dict):
        raise UserError(f"{argument}: an evaluator is a dict of its keys, or None")
    return found


def _plain(error, config):
    """Returns an error of absl's flags in the words of this program."""
    text = " ".join(str(error).split())
    found = re.match(r"flag (--config\.(\S+?)=.*?): ", text)
    if not found:
        return text
    kind = type(_get(config, found[2], found[1])).__name__
    return f"{found[1]}: the value is not of type {kind.replace('ConfigDict', 'dict')}"
