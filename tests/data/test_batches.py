"""Batches: a pure function of (seed, step), whatever the batch size and the number of processes."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxvl.data.batches import eval_images, make_batches
from jaxvl.data.host_tf import tf
from jaxvl.data.prefetch import Prefetch
from jaxvl.data.sources import Source, open_prepared
from jaxvl.data.text import tokenizer as tokenizers
from jaxvl.errors import UserError

SIZE = 24


FULL = dict(
    rand_augment_operations=1,
    color_jitter_probability=0.8,
    greyscale_probability=0.2,
    blur_probability=0.5,
)


def settings(**keys):
    """Crop and flip only, quick to trace; FULL adds the rest."""
    return SimpleNamespace(
        **{
            **dict(
                image_size=SIZE,
                crop_scale=(0.2, 1.0),
                flip_probability=0.5,
                rand_augment_operations=0,
                rand_augment_magnitude=7,
                rand_augment_probability=0.5,
                color_jitter=(0.4, 0.4, 0.4, 0.1),
                color_jitter_probability=0.0,
                greyscale_probability=0.0,
                blur_sigma=(0.1, 2.0),
                blur_probability=0.0,
                max_tokens=8,
                max_words=30,
                words="",
                add_sep=False,
                negatives="",
                second_view=False,
                eval_crop="none",
                prefetch_batches=2,
                loader_threads=2,
            ),
            **keys,
        }
    )


def encode(pixels, kind="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def photographs(count, seed=0):
    rng = np.random.default_rng(seed)
    coarse = [rng.integers(0, 256, (6, 6, 3), dtype=np.uint8) for _ in range(count)]
    return [
        encode(np.asarray(Image.fromarray(c).resize((45, 37), Image.Resampling.BICUBIC)))
        for c in coarse
    ]


def in_memory(images, captions=None, name="images"):
    """A Source of tf.train.Examples held in a list."""

    def feature(values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    records = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image": feature([image]),
                    "file_name": feature([b"%d.jpg" % i]),
                    "captions": feature([c.encode() for c in captions[i]] if captions else [b"a"]),
                }
            )
        ).SerializeToString()
        for i, image in enumerate(images)
    ]

    def parse(serialized):
        text = tf.io.FixedLenFeature([], tf.string)
        texts = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
        schema = {"image": text, "file_name": text, "captions": texts}
        return tf.io.parse_single_example(serialized, schema)

    return Source(name, len(records), "0", lambda index: [records[i] for i in index], parse)


@pytest.fixture(scope="module")
def ten():
    """Ten images with three captions each, caption c of image i being "p<i> c<c>"."""
    return in_memory(photographs(10), [[f"p{i} c{c}" for c in range(3)] for i in range(10)])


@pytest.fixture(scope="module")
def tokenizer():
    words = [f"p{i} c{c}" for i in range(10) for c in range(3)]
    return tokenizers.train(words, vocabulary_size=100)


def make(sources, tokenizer, *, batch_size=4, seed=0, rows=None, **keys):
    return make_batches(
        [(source, 1.0) for source in sources],
        tokenizer,
        settings(**keys),
        seed=seed,
        batch_size=batch_size,
        rows=np.arange(batch_size) if rows is None else rows,
    )


def examples(batches, steps):
    """{(visit, example id): (pixels, ids)} over the first steps."""
    found, visits = {}, {}
    for step in range(steps):
        batch = batches.batch(step)
        for row, example in enumerate(batch["example_id"].tolist()):
            visits[example] = visits.get(example, -1) + 1
            found[visits[example], example] = (batch["image"][row], batch["token_ids"][row])
    return found


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_a_batch_has_the_promised_fields(ten, tokenizer):
    made = make([ten], tokenizer)
    assert (made.num_examples, made.steps_per_epoch) == (10, 3)
    described = {name: (x.dtype, x.shape) for name, x in made.batch(0).items()}
    assert described == {
        "image": (np.uint8, (4, SIZE, SIZE, 3)),
        "token_ids": (np.int32, (4, 8)),
        "token_mask": (bool, (4, 8)),
        "word_ids": (np.int32, (4, 8)),
        "image_id": (np.int32, (4,)),
        "caption_id": (np.int32, (4,)),
        "example_id": (np.int32, (4,)),
    }


def test_every_example_once_an_epoch_across_batch_borders(ten, tokenizer):
    made = make([ten], tokenizer)
    seen = np.concatenate([made.batch(step)["example_id"] for step in range(5)])
    for epoch in seen.reshape(2, 10):
        assert sorted(epoch) == list(range(10))


@pytest.mark.parametrize("shares", [[[0, 1], [2, 3]], [[0, 3], [1, 2]], [[2], [0], [3], [1]]])
def test_processes_together_give_the_global_batch_whichever_rows_are_theirs(ten, tokenizer, shares):
    whole = make([ten], tokenizer).batch(2)
    for rows in shares:
        part = make([ten], tokenizer, rows=np.array(rows)).batch(2)
        assert_same(part, {name: value[rows] for name, value in whole.items()})


def test_going_on_from_a_step_is_the_same_as_never_having_stopped(ten, tokenizer):
    straight = make([ten], tokenizer)
    for step in range(3):
        straight.batch(step)
    assert_same(straight.batch(3), make([ten], tokenizer).batch(3))


def test_seeds_differ(ten, tokenizer):
    first, second = (make([ten], tokenizer, batch_size=10, seed=s).batch(0) for s in (0, 1))
    assert (first["example_id"] != second["example_id"]).any()
    by_id = [dict(zip(b["example_id"].tolist(), b["image"])) for b in (first, second)]
    assert all((by_id[0][i] != by_id[1][i]).any() for i in range(10))


def test_draws_of_an_example_do_not_depend_on_its_batch(ten, tokenizer):
    small = examples(make([ten], tokenizer, batch_size=2, **FULL), 10)
    large = examples(make([ten], tokenizer, batch_size=10, **FULL), 2)
    assert small.keys() == large.keys()
    for key in small:
        np.testing.assert_array_equal(small[key][0], large[key][0])
        np.testing.assert_array_equal(small[key][1], large[key][1])


def test_examples_of_a_batch_are_distorted_differently(tokenizer):
    same = in_memory(photographs(1) * 4)
    images = make([same], tokenizer, batch_size=4).batch(0)["image"]
    assert all((images[0] != image).any() for image in images[1:])


def test_the_next_epoch_distorts_differently(ten, tokenizer):
    seen = examples(make([ten], tokenizer, batch_size=10, **FULL), 2)
    assert all((seen[0, i][0] != seen[1, i][0]).any() for i in range(10))


def test_captions_take_turns_and_belong_to_their_image(ten, tokenizer):
    seen = examples(make([ten], tokenizer, batch_size=10), 3)
    first_captions = set()
    for i in range(10):
        texts = [tokenizer.decode(seen[epoch, i][1].tolist()) for epoch in range(3)]
        assert sorted(texts) == [f"p{i} c{c}" for c in range(3)]
        first_captions.add(texts[0][-1])
    assert len(first_captions) > 1  # not every image begins with the same one


def test_a_second_view_is_another_crop_with_another_caption_and_the_first_stays(ten, tokenizer):
    plain = make([ten], tokenizer, batch_size=10).batch(1)
    batch = make([ten], tokenizer, batch_size=10, second_view=True).batch(1)
    assert_same(plain, {name: batch[name] for name in plain})
    described = {name: (x.dtype, x.shape) for name, x in batch.items() if "second" in name}
    assert described == {
        "second_image": (np.uint8, (10, SIZE, SIZE, 3)),
        "second_ids": (np.int32, (10, 8)),
        "second_mask": (bool, (10, 8)),
        "second_valid": (bool, (10,)),
    }
    assert batch["second_valid"].all()
    for i, first, second in zip(batch["example_id"], batch["token_ids"], batch["second_ids"]):
        one, other = (tokenizer.decode(ids.tolist()) for ids in (first, second))
        assert one.split()[0] == other.split()[0] == f"p{i}" and one != other
    assert all((a != b).any() for a, b in zip(batch["image"], batch["second_image"]))


def test_an_image_with_one_caption_has_no_second_one(tokenizer):
    source = in_memory(photographs(4), [["p0 c0"], ["p1 c1"], ["p2 c0", "p2 c1"], ["p3 c0"] * 2])
    batch = make([source], tokenizer, second_view=True).batch(0)
    assert sorted(batch["example_id"][batch["second_valid"]]) == [2]


def test_a_data_set_smaller_than_the_batch_goes_round(tokenizer):
    batch = make([in_memory(photographs(3))], tokenizer, batch_size=8).batch(0)
    assert np.bincount(batch["example_id"]).min() == 2
    assert len(set(batch["image_id"].tolist())) == 3


def test_a_mixture_numbers_its_images_through(ten, tokenizer):
    other = in_memory(photographs(5, seed=1), [["other"]] * 5)
    made = make([ten, other], tokenizer, batch_size=10)
    assert made.num_examples == 15
    batch = made.batch(0)
    assert sorted(batch["example_id"][batch["example_id"] >= 10]) == [10, 11, 12, 13, 14]
    assert len(set(batch["image_id"].tolist())) == 10
    for example, ids in zip(batch["example_id"], batch["token_ids"]):
        is_of_the_first = tokenizer.decode(ids.tolist()).startswith(f"p{example} ")
        assert is_of_the_first == (example < 10)


def test_equal_files_and_equal_captions_have_equal_ids(tokenizer):
    first, other = photographs(2)
    copies = in_memory([first, other, first], [["p0 c0"], ["P0  c0"], ["p1 c1"]])
    batch = examples_by_id(make([copies], tokenizer, batch_size=3).batch(0))
    image_id, caption_id = batch["image_id"], batch["caption_id"]
    assert image_id[0] == image_id[2] != image_id[1]
    assert caption_id[0] == caption_id[1] != caption_id[2]  # the model reads the same tokens


def examples_by_id(batch):
    """The rows of a batch in the order of their examples."""
    return {name: x[np.argsort(batch["example_id"])] for name, x in batch.items()}


def test_a_batch_for_evaluation_must_divide_among_the_processes(ten):
    with pytest.raises(UserError, match="batch_size: 4 .* 3 processes"):
        next(eval_images(ten, settings(), batch_size=4, process_index=0, process_count=3))


@pytest.mark.parametrize(
    "bad, reason",
    [
        (b"", "not an image"),
        (b"\xff\xd8\xff no image", "not an image"),
        (photographs(1)[0][:200], "truncated or damaged"),
        (photographs(1)[0][:-200], ".*Invalid JPEG"),  # TensorFlow says so
    ],
)
def test_a_bad_image_is_named_where_the_batch_is_asked_for(tokenizer, bad, reason):
    images = photographs(6)
    images[4] = bad
    source = in_memory(images, name="holiday:train")
    batches = make([source], tokenizer, batch_size=6)
    message = rf"^holiday:train: record 4 \(4.jpg\) cannot be used: {reason}"
    with pytest.raises(UserError, match=message):
        with Prefetch(batches.batch, range(3), depth=1, threads=2) as ready:
            list(ready)
    with pytest.raises(UserError, match="record 4"):
        list(eval_images(source, settings(), batch_size=4, process_index=0, process_count=1))


def test_a_record_without_captions_is_named(tokenizer):
    source = in_memory(photographs(3), [["a"], [], ["a"]])
    with pytest.raises(UserError, match=r"record 1 \(1.jpg\) .* no caption"):
        make([source], tokenizer, batch_size=3).batch(0)


def test_bytes_that_are_no_record_are_named(ten, tokenizer):
    def read(index):
        return [b"\xff garbage" if i == 7 else record for i, record in zip(index, ten.read(index))]

    with pytest.raises(UserError, match="^images: record 7 cannot be read"):
        make([ten._replace(read=read)], tokenizer, batch_size=10).batch(0)


def test_odd_images_give_batches(tokenizer):
    grey = np.full((9, 9), 100, np.uint8)
    shapes = [(1, 1, 3), (3, 500, 3), (500, 3, 3)]
    images = [encode(np.full(shape, 100, np.uint8)) for shape in shapes]
    images += [encode(grey, "PNG"), encode(grey)]
    batches = make([in_memory(images)], tokenizer, batch_size=5)
    for step in range(20):  # some crops of an image of one pixel would round to nothing
        batch = batches.batch(step)
        assert batch["image"].shape == (5, SIZE, SIZE, 3)
        assert np.abs(batch["image"].astype(int) - 100).max() <= 1


@pytest.mark.parametrize(("batch_size", "count"), [(4, 1), (4, 2), (16, 1), (16, 4)])
def test_evaluation_sees_every_image_once_and_whole(ten, batch_size, count):
    seen = {}
    for process in range(count):
        for batch in eval_images(
            ten, settings(), batch_size=batch_size, process_index=process, process_count=count
        ):
            assert batch["image"].shape == (batch_size // count, SIZE, SIZE, 3)
            assert batch["index"].dtype == np.int32
            for row in np.flatnonzero(batch["mask"]):
                index = int(batch["index"][row])
                assert index not in seen
                seen[index] = batch["image"][row]
    assert sorted(seen) == list(range(10))
    for index, encoded in enumerate(photographs(10)):
        image = Image.open(io.BytesIO(encoded)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(seen[index], np.asarray(image))


def test_evaluation_pads_to_the_same_number_of_batches_everywhere(ten):
    masks = [
        [
            b["mask"].tolist()
            for b in eval_images(
                ten, settings(), batch_size=8, process_index=process, process_count=2
            )
        ]
        for process in range(2)
    ]
    assert masks == [[[True] * 4, [True, True, False, False]], [[True] * 4, [False] * 4]]


def test_a_prepared_data_set_gives_batches(scenes_directory):
    source = open_prepared(scenes_directory, split="train")
    tokenizer = tokenizers.load(scenes_directory)
    made = make([source], tokenizer, batch_size=8)
    batch = made.batch(made.steps_per_epoch)
    assert batch["image"].std() > 0 and batch["token_mask"].sum(axis=1).min() > 1
    assert json.loads((scenes_directory / "jaxvl.json").read_text())["splits"]["train"] == 40
