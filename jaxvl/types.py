"""The contracts between the parts: NamedTuples of pure functions, in the manner of optax.

The name of an array ends in its shape: `zi_GxE` is [G, E]. Letters: G examples of the global batch,
H W height and width of an image, N image tokens (class token first), L text tokens, D width of a
token, h attention heads, E size of an embedding, R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxvl.keys import KeyTree

if TYPE_CHECKING:  # commands that work without JAX import this module too
    import jax
    from jax.sharding import PartitionSpec
    from ml_collections import ConfigDict

Params = dict[str, Any]  # nested, of arrays: {"image": {...}, "text": {...}, "temperature": scalar}
Slots = dict[str, Any]  # nested, of arrays: the state of a method beside the parameters
Batch = Mapping[str, "jax.Array"]  # names, shapes and dtypes are those of data.schema.batch_spec
Metrics = dict[str, "jax.Array"]  # scalars: {"loss/itc": ..., "temperature": ...}
Rules = tuple[tuple[str, "PartitionSpec"], ...]  # (regex of a path, spec); the first match decides
Check = Callable[["ConfigDict"], None]  # raises UserError naming a key
FusionFunction = Callable[..., Any] | Any  # None in a model without a fusion encoder

MATCH = 1  # index of "image and text belong together" in the match logits


class Component(NamedTuple):
    """A method or a model that the configuration names.

    One file defines a component; one line in METHODS or in MODELS makes it known.
    """

    # in METHODS (config, model, *, steps_per_epoch) -> Method; in MODELS (config) -> Model
    make: Callable[..., Any]
    keys: KeyTree = {}  # the keys that it brings, from the root: {"softmask": {"weight": Key(...)}}
    check: Check = lambda config: None  # called if the component is in use


class ContrastiveLoss(NamedTuple):
    """A contrastive loss: rows (images or texts) against keys of the other modality.

    `rows` receives as `learned` the parameters that `learned` created, as trained so far; all its
    other arguments are those of `jaxvl.losses.contrastive.itc`.
    """

    # (z_RxE, ids_Rx2, keys, scale, *, learned, momentum, gamma, focal_on, chunk) -> float32 [R]
    rows: Callable[..., jax.Array]
    learned: Callable[[ConfigDict], Params] = lambda config: {}  # parameters of its own, at step 0
    keys: KeyTree = {}  # as in Component
    check: Check = lambda config: None  # as in Component


class Model(NamedTuple):
    """An image encoder, a text encoder, and in some models a fusion encoder that joins them.

    `params` are those of the whole model. `mask` is True at tokens and False at padding. `key` is a
    PRNG key for dropout, or None for no dropout, as in evaluation.

    `fuse` lets each text token attend to the image tokens. Its arguments are:

    - image_keys: the result of `image_keys`, or a `jaxvl.models.fusion.Shared` for several texts
      per image.
    - keep_GxN: a factor of each image token; None for 1.
    - probe: [G, h, L, N], added to the attention of `layer`, to differentiate by it; or None.
    - layer: the fusion layer whose cross-attention probabilities are returned, from 0; or None.
    - first_only: if `layer` is None, return the states of the first token alone, [G, 1, D].
      Matching reads this state; with model.match_read="mean" it is the mean of all tokens.
    """

    init: Callable[[jax.Array], Params]  # (key) -> params
    # (params, image_GxHxWx3 uint8) -> v_GxNxD, what project_image and image_keys read
    encode_image: Callable[..., jax.Array]
    encode_text: Callable[..., jax.Array]  # (params, ids_GxL, mask_GxL, *, key) -> t_GxLxD
    project_image: Callable[..., jax.Array]  # (params, v_GxNxD) -> zi_GxE, unit length
    project_text: Callable[..., jax.Array]  # (params, t_GxLxD, ids_GxL) -> zt_GxE, unit length
    partition_rules: Rules
    # (params, v_GxNxD, probe_GxhxN or None) -> (zi_GxE, attention_GxhxN): the embedding, and the
    # attention in the last block of the token that it is read from, to which the probe is added;
    # None in a model whose words are explained by its fusion encoder
    look: FusionFunction = None
    # (params, v_GxNxD) -> the cross-attention keys and values of all layers
    image_keys: FusionFunction = None
    # (params, image_keys, t_GxLxD, mask_GxL, *, key, keep_GxN, probe, layer, first_only)
    #   -> (states_GxLxD, attention_GxhxLxN or None)
    fuse: FusionFunction = None
    match_logits: FusionFunction = None  # (params, states_GxLxD) -> [G, 2]; index MATCH: they match
    word_logits: FusionFunction = None  # (params, states_GxLxD) -> [G, L, V]


class Method(NamedTuple):
    """A training method: the loss of a step, and the state that it carries beside the parameters.

    `forward` sees the parameters as they are before the update, and returns the slots of the next
    step.
    """

    init_slots: Callable[[Params], Slots]  # (params at step 0) -> slots
    forward: Callable[..., Any]  # (params, slots, batch, *, step, key) -> (loss, (metrics, slots))
    project: Callable[[Params], Params]  # constraints that hold after every update
    slot_rules: Rules  # for the slots; the model's rules apply to paths that none of these matches
    # (means of the metrics since the last log line) -> a warning in one line, or None
    warn: Callable[[Mapping[str, float]], str | None] = lambda metrics: None


class EvaluatorComponent(NamedTuple):
    """An evaluator that `config.evals` names; its keys are under evals.NAME."""

    make: Callable[..., Evaluator]  # (config, *, scorer, examples) -> Evaluator
    keys: KeyTree = {}  # as in Component
    check: Check = lambda config: None  # as in Component
    # (records, scorer) -> what the data set or the model lacks for it, in words; "" for nothing
    missing: Callable[..., str] = lambda records, scorer: ""
    # the evals.compositional.benchmark.Benchmark of one that reads published files and no held-out
    # split
    benchmark: Any = None


class Evaluator(NamedTuple):
    """One evaluation of a model.

    `findings` is None in an evaluation that finds nothing but scores.
    """

    run: Callable[..., dict[str, float]]  # (params, progress) -> {metric: value}
    # (params, progress) -> (the same dict, findings). `findings.write(directory, name)` writes
    # them, and `findings.folder` is what their folder is called.
    findings: Callable[..., Any] | None = None
