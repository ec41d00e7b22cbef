"""No file of a stranger runs code: data, a run, weights, a tokenizer, a benchmark, a table.

Each test plants the name of the module `stranger_code`, which can be imported and leaves a mark, or
a pickle that does the same, in one kind of file, reads the file, and looks for the mark.
"""

import json
import pickle
import sys
import zipfile

import jax
import numpy as np
import pytest

from jaxvl import checkpoint, workdir
from jaxvl.data import sources, store
from jaxvl.data.images import untrusted
from jaxvl.data.negatives import storage
from jaxvl.data.text import tokenizer
from jaxvl.errors import UserError
from jaxvl.interop import hugging_face, tensor_files

MODULE = "stranger_code"
CALL = f"__import__('{MODULE}')"


class Pickled:
    """An object whose pickle imports the module."""

    def __reduce__(self):
        return __import__, (MODULE,)


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path, monkeypatch):
    """The module can be imported while the test runs, and was not."""
    folder = tmp_path / "importable"
    folder.mkdir()
    mark = tmp_path / "mark"
    (folder / f"{MODULE}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(folder))
    yield
    assert not mark.exists() and MODULE not in sys.modules


def replaced(value, old, new):
    """The JSON value with the strings that `old` accepts replaced by `new`, at any depth."""
    if isinstance(value, dict):
        return {key: replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, old, new) for item in value]
    return new if isinstance(value, str) and old(value) else value


def rewrite(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def write_data(directory, kind="test"):
    records = [{"image": b"jpeg", "file_name": str(i), "captions": ["a cube"]} for i in range(3)]
    splits, counts = {"train": iter(records)}, {"train": 3}
    store.write(directory, kind=kind, splits=splits, counts=counts, meta={}, vocabulary_size=60)
    is_class = lambda text: "tensorflow_datasets." in text  # noqa: E731
    rewrite(directory / "features.json", lambda f: replaced(f, is_class, f"{MODULE}.Feature"))
    rewrite(directory / "dataset_info.json", lambda info: {**info, "moduleName": MODULE})
    return directory


def test_of_prepared_data(tmp_path):
    source = sources.open_prepared(write_data(tmp_path / "set"), split="train")
    assert [each["captions"] for each in sources.annotations(source)] == [["a cube"]] * 3


def test_of_prepared_data_whose_features_cannot_be_read(tmp_path):
    """They are not read at all."""
    write_data(tmp_path / "set")
    (tmp_path / "set" / "features.json").write_text("{")
    assert sources.open_prepared(tmp_path / "set", split="train").num_examples == 3


def test_of_a_tfds_data_set(tmp_path):
    write_data(tmp_path / "jaxvl_strange" / "1.0.0", kind="strange")
    source = sources.open_tfds("jaxvl_strange", tmp_path, split="train")
    assert [each["captions"] for each in sources.annotations(source)] == [["a cube"]] * 3


@pytest.mark.parametrize("name", [f"../{MODULE}", MODULE, f"{MODULE}.Builder", "a/../../b"])
def test_of_the_name_of_a_tfds_data_set(tmp_path, name):
    """A run's config.json may name it."""
    with pytest.raises(UserError, match="data.name=|is not prepared in"):
        sources.open_tfds(name, tmp_path, split="train")


def test_records_outside_of_the_folder_are_not_read(tmp_path):
    write_data(tmp_path / "set")
    template = "../other/{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"
    info = tmp_path / "set" / "dataset_info.json"
    rewrite(
        info,
        lambda told: {**told, "splits": [told["splits"][0] | {"filepathTemplate": template}]},
    )
    with pytest.raises(UserError, match="names .*, outside of the folder"):
        sources.open_prepared(tmp_path / "set", split="train")


@pytest.mark.parametrize("damage", ["{", "[]", '{"name": 1}', '{"splits": 3}', "\x00", "[" * 9999])
def test_a_damaged_dataset_info_is_one_line(tmp_path, damage):
    write_data(tmp_path / "set")
    (tmp_path / "set" / "dataset_info.json").write_text(damage)
    with pytest.raises(UserError, match="dataset_info.json: damaged"):
        sources.open_prepared(tmp_path / "set", split="train")


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"featuresDict": 1}', "[" * 9999])
def test_a_damaged_features_json_is_one_line(tmp_path, damage):
    write_data(tmp_path / "x" / "1.0.0")
    (tmp_path / "x" / "1.0.0" / "features.json").write_text(damage)
    with pytest.raises(UserError, match="features.json: not as TFDS"):
        sources.open_tfds("x", tmp_path, split="train")


def test_of_negatives(tmp_path):
    np.savez(tmp_path / "train.index.npz", line=np.array([Pickled()], object), first=np.zeros(1))
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(UserError, match="unreadable"):
        storage.reader(tmp_path, split="train", splits={"train": 0})


def test_of_pickled_weights(tmp_path):
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"weight": Pickled()}, protocol=2))
        file.writestr("archive/version", "3")
    with pytest.raises(UserError, match="pytorch_model.bin"):
        dict(tensor_files.open_tensors(tmp_path))


def test_of_a_hugging_face_folder(tmp_path):
    code = {"AutoConfig": f"{MODULE}.Config", "AutoTokenizer": [f"{MODULE}.Tokenizer", None]}
    (tmp_path / f"{MODULE}.py").write_text(f"import {MODULE}\n")
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(json.dumps({"model_type": MODULE, "auto_map": code}))
    with pytest.raises(UserError):
        hugging_face.open_folder(tmp_path, ("bert",))
    with pytest.raises(UserError, match="no tokenizer.json"):
        tokenizer.load(tmp_path)


def test_of_a_tokenizer(tmp_path):
    told = json.loads(tokenizer.train(["a cube"], vocabulary_size=60).to_str())
    told["pre_tokenizer"] = {"type": "Custom", "class": f"{MODULE}.Words", "code": CALL}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="tokenizer.json"):
        tokenizer.load(tmp_path)


def test_of_a_run_s_configuration(tmp_path, toy_config):
    workdir.save_config(toy_config, tmp_path)
    for key, value in {"dir": CALL, "tokenizer": f"{MODULE}.Tokenizer", "source": MODULE}.items():
        rewrite(tmp_path / "config.json", lambda c: c | {"data": c["data"] | {key: value}})  # noqa: B023
    assert workdir.load_config(tmp_path).data.dir == CALL


@pytest.mark.slow
def test_of_a_checkpoint(tmp_path):
    """Whatever classes its JSON files name, and with a pickle beside the arrays."""
    params = {"kernel": jax.numpy.ones((2, 2))}
    checkpoint.save_params(tmp_path, params)
    names = lambda text: "." in text or text.startswith(("jax", "Std"))  # noqa: E731
    for path in (tmp_path / "checkpoints").rglob("*METADATA"):
        rewrite(path, lambda told: replaced(told, names, f"{MODULE}.Handler"))
    for folder in {path.parent for path in (tmp_path / "checkpoints").rglob("*METADATA")}:
        (folder / "checkpoint").write_bytes(pickle.dumps(Pickled()))

    class Model:
        partition_rules = ((".*", ()),)
        init = staticmethod(lambda key: params)

    try:
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "fsdp"))
        found, _ = checkpoint.restore_params(tmp_path, model=Model, mesh=mesh)
        np.testing.assert_array_equal(found["kernel"], params["kernel"])
    except UserError:
        pass  # refused is as good


def test_of_an_image(tmp_path):
    """PostScript, which a reader of PIL would hand to an interpreter."""
    code = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({MODULE}.py) run\n"
    (tmp_path / "x.jpg").write_text(code)
    with pytest.raises(untrusted.BadImage):
        untrusted.upright(untrusted.Location(str(tmp_path / "x.jpg"), 0, -1))
