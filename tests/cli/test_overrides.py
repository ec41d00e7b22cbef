"""--config.KEY=VALUE changes a key, as ml_collections reads it, and switches evaluators."""

import pytest

from jaxvl.cli import overrides
from jaxvl.config import base
from jaxvl.errors import UserError


@pytest.mark.parametrize(
    "arguments, key, value",
    [
        (["--config.batch_size=3"], "batch_size", 3),
        (["--config.batch_size", "3"], "batch_size", 3),
        (["--config.model.remat"], "model.remat", True),
        (["--config.model.remat=False"], "model.remat", False),
        (["--noconfig.log.tensorboard"], "log.tensorboard", False),
        (["--config.optim.learning_rate=1e-3"], "optim.learning_rate", 1e-3),
        (["--config.data.crop_scale=(0.1, 0.5)"], "data.crop_scale", (0.1, 0.5)),
        (["--config.data.token_lengths=16"], "data.token_lengths", (16,)),
        (["--config.seed=1", "--config.seed=2"], "seed", 2),
        (["--config.evals.retrieval=None"], "evals.retrieval", None),
        (["--config.evals.bla={'images': 'x', 'annotations': 'y'}"], "evals.bla.images", "x"),
    ],
)
def test_a_key_takes_the_value(arguments, key, value):
    config = base().lock()
    overrides.apply(config, arguments)
    found = config
    for name in key.split("."):
        found = found[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--config.optim.learning_rat=1", "no key optim.learning_rat; did you mean optim.learn"),
        ("--config.batch_size.x=1", "no key batch_size.x"),
        ("--config.=1", "no key"),
        ("--config.seed", "Missing value for flag --config.seed"),
        ("--config.seed=1.5", "--config.seed=1.5: the value is not of type int"),
        ("--config.log.tensorboard=maybe", "not of type bool"),
        ("--config.model=3", "--config.model=3: the value is not of type dict"),
        ("--config.evals.retrieval=0", "an evaluator is a dict of its keys, or None"),
        ("--config.evals.bla.images=x", "evals.bla is switched off; give --config.evals.bla a"),
    ],
)
def test_a_change_that_does_not_fit_is_named(argument, message):
    with pytest.raises(UserError) as error:
        overrides.apply(base().lock(), [argument])
    assert message in str(error.value)
