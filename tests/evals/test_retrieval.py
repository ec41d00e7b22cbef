"""Retrieval: right at 100 %, random and constant scorers at chance, however it is batched."""

import jax
import numpy as np
import pytest
import table_model
from ml_collections import ConfigDict
from small_clip import LENGTH, small_clip_config, texts

from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals import retrieval
from jaxvl.evals.pairs import group_pairs
from jaxvl.evals.scoring import make_scorer, rows_by_length
from jaxvl.models import MODELS
from jaxvl.sharding import make_mesh

IMAGES, CAPTIONS = 37, 5


def mesh_of(data, fsdp):
    return make_mesh(ConfigDict({"data": data, "fsdp": fsdp}), devices=jax.devices()[: data * fsdp])


def run(kind, *, rerank=8, batch_size=8, mesh=(1, 1), order=None, fusion=True, seed=0):
    image_C = np.repeat(np.arange(IMAGES), CAPTIONS)
    order = np.arange(IMAGES) if order is None else order
    records = [{"captions": [str(c) for c in np.flatnonzero(image_C == i)]} for i in order]
    examples = table_model.make_examples(records, greys=order, batch_size=batch_size)
    config = table_model.make_config(rerank=rerank, batch_size=batch_size)
    scorer = make_scorer(
        config, model=table_model.make_model(fusion), mesh=mesh_of(*mesh), batch_size=batch_size
    )
    params = table_model.make_params(image_C, kind=kind, seed=seed)
    return retrieval.make(config, scorer=scorer, examples=examples).run(params)


@pytest.mark.parametrize("rerank", [0, 1, 8, 1000])
def test_a_perfect_scorer_finds_everything(rerank):
    scores = run("perfect", rerank=rerank)
    assert {value for name, value in scores.items() if "chance" not in name} == {1.0}


def test_seven_numbers_are_reported_beside_chance():
    names = {f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)}
    names |= {f"r{k}_chance" for k in (1, 5, 10)}
    scores = run("random")
    assert set(scores) == names | {"mean_recall"}
    assert scores["r1_chance"] == pytest.approx(1 / IMAGES)
    assert scores["r5_chance"] == pytest.approx(5 / IMAGES)


def test_a_model_without_fusion_is_ranked_by_similarity_alone():
    assert run("random", fusion=False) == run("random", rerank=0)
    assert run("random", rerank=0) != run("random", rerank=1000)


@pytest.mark.parametrize("fusion", [True, False])
def test_tokens_are_kept_for_fusion_alone(fusion):
    records = [{"captions": [str(i)]} for i in range(5)]
    examples = table_model.make_examples(records, greys=range(5), batch_size=2)
    scorer = make_scorer(
        table_model.make_config(rerank=0, batch_size=2),
        batch_size=2,
        mesh=mesh_of(1, 1),
        model=table_model.make_model(fusion),
    )
    params = table_model.make_params(range(5), kind="perfect")
    images = scorer.images(params, examples.images(), count=5, progress=False)
    texts = scorer.texts(params, examples.tokenize("01234"), progress=False)
    assert (images.tokens_IxNxD is not None) == (texts.states_TxLxD is not None) == fusion
    scores_IxT = images.embeddings_IxE @ texts.embeddings_TxE.T
    np.testing.assert_array_equal(scores_IxT.argmax(axis=1), range(5))


def test_short_texts_are_encoded_short_with_the_same_result():
    config = small_clip_config()
    model = MODELS["clip"].make(config)
    params = jax.jit(model.init)(jax.random.key(0))
    ids, mask = texts(np.random.default_rng(0), (11,), LENGTH)
    found = {}
    for lengths in ((), (4, 8)):
        config.data.token_lengths = lengths
        scorer = make_scorer(config, model=model, mesh=mesh_of(1, 1), batch_size=4)
        tokens = Tokens(ids, mask, np.zeros_like(ids))
        found[lengths] = scorer.texts(params, tokens, progress=False).embeddings_TxE
    np.testing.assert_allclose(found[()], found[4, 8], atol=1e-6)


def test_every_text_is_in_a_batch_of_the_first_length_that_holds_it():
    count_T = np.array([3, 9, 4, 5, 12, 8, 8, 2, 16])
    mask = np.arange(16)[None] < count_T[:, None]
    batches = rows_by_length(mask, (4, 8, 24), batch_size=2)
    assert [length for length, _ in batches] == [4, 4, 8, 8, 16, 16]
    for length, rows in batches:
        assert (
            len(rows) == 2
            and set(rows)
            <= {
                4: {0, 2, 7},
                8: {3, 5, 6},
                16: {1, 4, 8},
            }[length]
        )
    assert set(np.concatenate([rows for _, rows in batches])) == set(range(9))


@pytest.mark.parametrize("rerank", [0, 1000])
def test_a_constant_scorer_is_at_chance(rerank):
    scores = run("constant", rerank=rerank)
    for k in (1, 5, 10):
        assert scores[f"t2i_r{k}"] == pytest.approx(k / IMAGES)
        missed = np.prod([1 - CAPTIONS / (IMAGES * CAPTIONS - drawn) for drawn in range(k)])
        assert scores[f"i2t_r{k}"] == pytest.approx(1 - missed)


def test_random_scorers_are_at_chance_on_average():
    found = [run("random", rerank=rerank, seed=s) for s in range(6) for rerank in (0, 8)]
    mean = {name: np.mean([scores[name] for scores in found]) for name in found[0]}
    assert mean["t2i_r10"] == pytest.approx(10 / IMAGES, abs=0.05)
    assert mean["t2i_r1"] == pytest.approx(1 / IMAGES, abs=0.03)


@pytest.mark.parametrize(
    "batch_size, mesh", [(1, (1, 1)), (5, (1, 1)), (64, (1, 1)), (16, (8, 1)), (8, (2, 4))]
)
def test_neither_batch_size_nor_mesh_changes_a_number(batch_size, mesh):
    assert run("random", batch_size=batch_size, mesh=mesh) == run("random")


def test_the_order_of_the_data_set_changes_nothing():
    order = np.random.default_rng(1).permutation(IMAGES)
    assert run("random", order=order) == pytest.approx(run("random"), abs=1e-12)


def test_reranked_candidates_precede_all_others():
    itc = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]], np.float32)
    match = np.array([[-30.0, 20.0, 99.0, 99.0, 99.0]], np.float32)
    chosen = retrieval.top(itc, 2)
    ranked = np.argsort(-retrieval.put_first(itc, match, chosen)[0])
    assert ranked.tolist() == [1, 0, 2, 3, 4]


@pytest.mark.parametrize("count, expected", [(1, [0, 1, 0, 0]), (3, [1, 1, 0, 1]), (9, [1] * 4)])
def test_candidates_are_the_highest_and_never_more_than_there_are(count, expected):
    scores = np.array([[0.5, 0.9, 0.1, 0.5]])
    assert retrieval.top(scores, count).tolist() == [[bool(x) for x in expected]]


def test_of_equal_candidates_the_first_are_taken_and_no_more():
    assert retrieval.top(np.zeros((1, 4)), 2).tolist() == [[True, True, False, False]]


def test_an_image_has_the_rank_of_the_best_of_its_captions():
    image_C, text_C = np.array([0, 0, 1]), np.array([0, 1, 2])
    scores = np.array([[0.1, 0.9, 0.5], [0.0, 0.8, 0.2]])
    assert retrieval.text_recalls(scores, image_C, text_C, shared=True)["i2t_r1"] == 0.5


@pytest.mark.parametrize("shared, i2t, t2i", [(False, 0.5, 2 / 3), (True, 1.0, 1.0)])
def test_a_text_of_two_images_is_right_for_one_or_for_both(shared, i2t, t2i):
    image_C, text_C = np.array([0, 1, 2]), np.array([0, 0, 1])
    to_text = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.5]])
    found = retrieval.text_recalls(to_text[:2], image_C[:2], text_C[:2], shared=shared)
    assert found == {"i2t_r1": i2t, "i2t_r5": 1.0, "i2t_r10": 1.0}
    to_image = np.array([[0.9, 0.8, 0.1], [0.0, 0.0, 0.7]])
    found = retrieval.image_recalls(to_image, image_C, text_C, shared=shared)
    assert found["t2i_r1"] == pytest.approx(t2i)


def test_scores_that_are_not_numbers_do_not_count_as_found():
    assert run("broken", rerank=4) == pytest.approx(run("constant", rerank=4))


def test_images_that_the_reader_skips_are_noticed():
    records = [{"captions": [str(i)]} for i in range(6)]
    examples = table_model.make_examples(records, greys=np.arange(6), batch_size=4)
    first_only = examples._replace(images=lambda: iter([next(examples.images())]))
    config = table_model.make_config(rerank=0, batch_size=4)
    model = table_model.make_model()
    scorer = make_scorer(config, model=model, mesh=mesh_of(1, 1), batch_size=4)
    evaluator = retrieval.make(config, scorer=scorer, examples=first_only)
    with pytest.raises(RuntimeError, match="2 of 6 images"):
        evaluator.run(table_model.make_params(np.arange(6), kind="perfect"))


@pytest.mark.parametrize("most", [1, 3, 4, 64])
def test_every_pair_is_in_one_unit_of_its_image(most):
    pairs = np.random.default_rng(0).integers(0, 9, (50, 2))
    units = group_pairs(pairs, most=most)
    assert units.texts_UxC.shape[1] <= most
    assert (units.image_U[units.unit_P] == pairs[:, 0]).all()
    assert (units.texts_UxC[units.unit_P, units.slot_P] == pairs[:, 1]).all()
    places = set(zip(units.unit_P.tolist(), units.slot_P.tolist()))
    assert len(places) == len(pairs)
