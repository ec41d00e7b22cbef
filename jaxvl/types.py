"""The contracts between the parts: NamedTuples of pure functions, in optax's manner.

Letters: G global batch, H W picture, N image tokens (class token first), L text tokens,
D width, h heads, E embedding, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxvl.keys import KeyTree

MATCH = 1  # index of "this image and this text belong together" in the match logits

Params = Any
Metrics = dict[str, Any]


class Component(NamedTuple):
    """A piece that a configuration names: a method, a model, a loss, a data source, an evaluator.

    One file defines it, one line in the dict of its package makes it known.

    make: builds it; the package says with which arguments.
    keys: the configuration keys that it brings, from the root: {"softmask": {"weight": Key(...)}}.
    check: (config) -> None, called where the component is in use; raises UserError naming the key.
    """

    make: Callable
    keys: KeyTree = {}
    check: Callable = lambda config: None


class ContrastiveLoss(NamedTuple):
    """A contrastive loss: rows (of images or of texts) against keys of the other kind.

    rows: (z_RxE, image_id_R, keys, scale, *, learned, twin, gamma, focal_on, chunk) -> float32 [R];
      the arguments are those of `jaxvl.losses.contrastive.itc`, and the parameters it learns.
    learned: (config) -> dict of the parameters that it learns at their first values; often empty.
    keys, check: as in Component.
    """

    rows: Callable
    learned: Callable = lambda config: {}
    keys: KeyTree = {}
    check: Callable = lambda config: None


class Model(NamedTuple):
    """An image tower, a text tower and what joins them.

    Without fusion, as in CLIP, `image_keys`, `fuse` and both kinds of logits are None.
    `key` is a PRNG key for dropout, or None for none (evaluation).
    """

    init: Callable  # (key) -> params
    encode_image: Callable  # (params, image_GxHxWx3 uint8) -> v_GxNxD
    encode_text: Callable  # (params, ids_GxL, mask_GxL, *, key) -> t_GxLxD
    project_image: Callable  # (params, v_GxNxD) -> zi_GxE, unit length
    project_text: Callable  # (params, t_GxLxD, ids_GxL) -> zt_GxE, unit length
    image_keys: Callable  # (params, v_GxNxD) -> cross-attention keys and values of all layers
    fuse: Callable  # (params, image_keys, t_GxLxD, mask_GxL, *, key, keep_GxN, probe, layer,
    #                  first_only) -> (states_GxLxD, attention_GxhxLxN of `layer`); without a layer
    #                  to explain, `first_only` makes the states those of the first token, [G, 1, D]
    #                  With bert.Shared image keys: several texts a picture
    match_logits: Callable  # (params, states_GxLxD) -> [G, 2], index 1 = match
    word_logits: Callable  # (params, states_GxLxD) -> [G, L, V]
    partition_rules: tuple  # ((path regex, PartitionSpec), ...), first match decides


class Method(NamedTuple):
    """What a training step computes.

    init_slots: (params) -> slots, the state that is carried beside the parameters.
    forward: (params, slots, batch, *, step, key) -> (loss, (metrics, slots)).
    project: (params) -> params, constraints that hold after each update.
    slot_rules: partition rules of what is in the slots but not in the parameters.
    warn: (mean metrics since the last log line) -> one line for the person who watches, or None.
    """

    init_slots: Callable
    forward: Callable
    project: Callable
    slot_rules: tuple
    warn: Callable = lambda metrics: None


class EvaluatorComponent(NamedTuple):
    """An evaluator that `config.evals` names.

    make: (config, *, scorer, examples) -> Evaluator.
    keys, check: as in Component; the keys stand under evals.NAME.
    missing: (records, scorer) -> what the data set or the model lacks for it, in words, or "".
    benchmark: the jaxvl.evals.compositional.benchmark.Benchmark of one that reads published files
      and no held-out split; else None.
    """

    make: Callable
    keys: KeyTree = {}
    check: Callable = lambda config: None
    missing: Callable = lambda records, scorer: ""
    benchmark: Any = None


class Evaluator(NamedTuple):
    """One evaluation: `run(params, progress) -> dict of floats`, names flat under its own.

    findings: (params, progress) -> (that dict, jaxvl.evals.false_match.Findings), where there are
    false captions; else None.
    """

    run: Callable
    findings: Callable | None = None
