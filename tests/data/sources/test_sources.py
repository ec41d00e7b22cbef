"""Sources: random access to prepared data sets and to TFDS builders."""

import functools
import io
import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvl.data import sources, store
from jaxvl.data.host_tf import tf, tfds
from jaxvl.data.negatives.captions import open_captions
from jaxvl.errors import UserError


def jpeg(value):
    stored = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(stored, "JPEG")
    return stored.getvalue()


def record(i):
    return {
        "image": jpeg(i),
        "file_name": f"{i}.jpg",
        "captions": [f"Image {i}.", f"number {i}"],
        "boxes": np.full((i % 3, 4), 0.5),
        "mentions": np.full((i % 2, 3), i),
        "negatives": ["not this"] * (i % 2),
        "negative_kinds": ["swap_relation"] * (i % 2),
        "negative_captions": np.zeros(i % 2, int),
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sources") / "set"
    store.write(
        directory,
        kind="test",
        splits={"train": map(record, range(20)), "val": map(record, range(3))},
        counts={"train": 20, "val": 3},
        meta={},
        vocabulary_size=60,
    )
    return directory


def parsed(source, indices):
    return [source.parse(tf.constant(raw)) for raw in source.read(np.array(indices))]


def test_reads_by_index_in_the_order_asked_repeats_too(prepared):
    source = sources.open_prepared(prepared, split="train")
    assert source.num_examples == 20
    names = [each["file_name"].numpy().decode() for each in parsed(source, [7, 0, 7, 19])]
    assert names == ["7.jpg", "0.jpg", "7.jpg", "19.jpg"]


def test_a_record_comes_back_as_written(prepared):
    source = sources.open_prepared(prepared, split="train")
    (found,) = parsed(source, [5])
    wanted = record(5)
    assert found["image"].numpy() == wanted["image"]
    assert [text.decode() for text in found["captions"].numpy()] == wanted["captions"]
    np.testing.assert_array_equal(found["boxes"], wanted["boxes"])
    np.testing.assert_array_equal(found["mentions"], wanted["mentions"])
    assert found["negative_kinds"].numpy().tolist() == [b"swap_relation"]


def test_many_threads_read_at_once(prepared):
    source = sources.open_prepared(prepared, split="train")
    wanted = source.read(np.arange(20))
    orders = [np.random.default_rng(seed).permutation(20) for seed in range(50)]
    with ThreadPoolExecutor(8) as pool:
        for order, found in zip(orders, pool.map(source.read, orders)):
            assert found == [wanted[i] for i in order]


def test_parse_has_no_python_in_its_graph(prepared):
    source = sources.open_prepared(prepared, split="train")
    graph = tf.function(source.parse).get_concrete_function(tf.TensorSpec([], tf.string)).graph
    assert not [op.type for op in graph.get_operations() if "PyFunc" in op.type]


def test_annotations_are_everything_but_the_image_in_order(prepared):
    source = sources.open_prepared(prepared, split="val")
    found = sources.annotations(source)
    assert [each["file_name"] for each in found] == ["0.jpg", "1.jpg", "2.jpg"]
    assert found[1]["captions"] == ["Image 1.", "number 1"]
    assert found[1]["negatives"] == ["not this"] and found[0]["negatives"] == []
    assert found[2]["boxes"].shape == (2, 4) and found[0]["boxes"].shape == (0, 4)
    assert "image" not in found[0]


def test_splits_may_be_joined_and_cut(prepared):
    open_split = lambda split: sources.open_prepared(prepared, split=split)  # noqa: E731
    assert open_split("train+val").num_examples == 23
    assert open_split("train[:50%]").num_examples == 10
    assert open_split("train").fingerprint != open_split("val").fingerprint


def test_an_unknown_split_is_refused_with_those_there_are(prepared):
    with pytest.raises(UserError, match=r"no split 'dev'.*train \(20\), val \(3\)"):
        sources.open_prepared(prepared, split="dev")


def test_a_folder_that_was_not_prepared_is_refused_with_the_command(tmp_path):
    with pytest.raises(UserError, match="jaxvl prepare"):
        sources.open_prepared(tmp_path, split="train")


def test_a_missing_shard_is_named(prepared, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in prepared.iterdir():
        if "train" not in file.name:
            (copy / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=r"jaxvl_test-train.array_record-00000: missing"):
        sources.open_prepared(copy, split="train")


def test_another_format_version_is_refused(prepared, tmp_path):
    meta = json.loads((prepared / "jaxvl.json").read_text())
    (tmp_path / "jaxvl.json").write_text(json.dumps({**meta, "format_version": 99}))
    with pytest.raises(UserError, match="format 99"):
        sources.open_prepared(tmp_path, split="train")


# --- TFDS builders, prepared here by their own code, without a network


def info(builder, features):
    return tfds.core.DatasetInfo(builder=builder, features=tfds.features.FeaturesDict(features))


class NestedCaptions(tfds.core.GeneratorBasedBuilder):
    """Captions the way coco_captions has them: a sequence of dicts."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="2014", version="1.0.0")]

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),
            "captions": tfds.features.Sequence({"text": np.str_, "id": np.int64}),
        }
        return info(self, features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(4):
            texts = [f"image {i}", "another word for it"][: 1 + i % 2]
            yield (
                i,
                {
                    "image": np.full((5, 6, 3), i, np.uint8),
                    "image/filename": f"{i}.png",
                    "captions": [{"text": text, "id": i} for text in texts],
                },
            )


class OneText(tfds.core.GeneratorBasedBuilder):
    """One text an image, a number for a name, an image feature of another name."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"photo": tfds.features.Image(), "id": np.int64, "text": np.str_}
        return info(self, features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            yield i, {"photo": np.zeros((4, 4, 3), np.uint8), "id": i, "text": f"text {i}"}


def build(builder_class, directory, file_format):
    builder = builder_class(data_dir=str(directory), file_format=file_format)
    builder.download_and_prepare()


def test_a_tfds_builder_with_nested_captions(tmp_path):
    build(NestedCaptions, tmp_path, "array_record")
    source = sources.open_tfds("nested_captions", tmp_path, split="train")
    found = {each["file_name"]: each["captions"] for each in sources.annotations(source)}
    assert found["0.png"] == ["image 0"]
    assert found["3.png"] == ["image 3", "another word for it"]
    (example,) = parsed(source, [0])
    assert tf.io.decode_image(example["image"]).shape == (5, 6, 3)
    assert example["boxes"].shape == (0, 4) and example["negatives"].shape == (0,)


def test_a_tfds_builder_with_one_text(tmp_path):
    build(OneText, tmp_path, "array_record")
    source = sources.open_tfds("one_text", tmp_path, split="train")
    found = {each["file_name"]: each["captions"] for each in sources.annotations(source)}
    assert found == {"0": ["text 0"], "1": ["text 1"], "2": ["text 2"]}
    data = open_captions(tmp_path, "one_text")
    assert data.splits == {"train": 3} and source.fingerprint == f"{data.fingerprint}:train"
    texts = [each["captions"] for each in sources.annotations(source)]
    assert data.captions("train", 1, 3) == texts[1:]


def run_the_command_of(error):
    """Do what the message says, with this process's Python and its registered builders."""
    command = shlex.split(str(error).split("run: ")[1])
    if command[0] == "mv":
        Path(command[1]).rename(command[2])
        command = command[4:]
    assert command[:2] == ["python", "-c"]
    exec(command[2], {})


def test_a_tfds_builder_that_is_not_prepared_gives_the_command(tmp_path):
    open_it = functools.partial(sources.open_tfds, "one_text", tmp_path, split="train")
    with pytest.raises(UserError, match="one_text is not prepared in") as raised:
        open_it()
    run_the_command_of(raised.value)
    assert open_it().num_examples == 3


def test_a_tfds_builder_without_random_access_gives_the_command(tmp_path):
    build(OneText, tmp_path, "tfrecord")
    open_it = functools.partial(sources.open_tfds, "one_text", tmp_path, split="train")
    with pytest.raises(UserError, match="stored as tfrecord, which has no random access") as raised:
        open_it()
    run_the_command_of(raised.value)
    assert open_it().num_examples == 3


def test_coco_captions_is_asked_for_by_name(tmp_path):
    with pytest.raises(UserError, match="coco_captions is not prepared"):
        sources.open_tfds("coco_captions", tmp_path, split="train")


def test_a_tfds_builder_without_captions_is_refused(tmp_path):
    class NoText(OneText):
        def _info(self):
            features = {"photo": tfds.features.Image(), "id": np.int64, "label": np.int64}
            return info(self, features)

        def _generate_examples(self):
            yield 0, {"photo": np.zeros((4, 4, 3), np.uint8), "id": 0, "label": 1}

    build(NoText, tmp_path, "array_record")
    with pytest.raises(UserError, match="no captions among .*label"):
        sources.open_tfds("no_text", tmp_path, split="train")
