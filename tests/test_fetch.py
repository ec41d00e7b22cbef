"""From nothing to a trained step: a tiny COCO and tiny weights from a server on this machine."""

import hashlib
import http.server
import io
import json
import shutil
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxvl.cli import fetch as fetch_cli
from jaxvl.configs import coco_ahnpl, coco_softmask
from jaxvl.data.sources import annotations, open_prepared
from jaxvl.errors import UserError
from jaxvl.fetch import coco
from jaxvl.fetch.download import Remote
from jaxvl.training import loop, needed

pytestmark = pytest.mark.slow
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"a red blue dog cat on the grass".split()]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.files, also from the middle; breaks off where server.cuts says so."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        content = self.server.files.get(self.path.partition("?")[0])
        if content is None:
            return self.send_error(404)
        start = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.server.cuts.pop(self.path, None)
        self.wfile.write(content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.cuts, running.asked = {}, {}, []
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def zipped(entries):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in entries.items():
            archive.writestr(name, value if isinstance(value, bytes) else json.dumps(value))
    return content.getvalue()


def picture(number, mode="RGB"):
    pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, "JPEG")
    return content.getvalue()


def tiny_coco():
    """Files of the published shape, with twelve images: eight to train on, one of them grey."""
    place = {n: ("train2014" if n < 8 else "val2014") for n in range(12)}
    split = {**dict.fromkeys(range(8), "train"), 8: "restval", 9: "val", 10: "val", 11: "test"}
    names = {n: f"COCO_{place[n]}_{n:012d}.jpg" for n in place}
    files = {}
    for year in coco.YEARS:
        files[f"{year}.zip"] = zipped(
            {
                f"{year}/{names[n]}": picture(n, "L" if n == 3 else "RGB")
                for n in place
                if place[n] == year
            }
        )
    files["annotations_trainval2014.zip"] = zipped(
        {
            f"annotations/{what}_{year}.json": {
                "images": [{"id": n, "file_name": names[n]} for n in place if place[n] == year],
                "annotations": [
                    {"id": 9 * n + k, "image_id": n, "caption": f"a {color} dog on grass {n}\n"}
                    if what == "captions"
                    else {"id": 9 * n + k, "image_id": n, "bbox": [0, 0, 1, 1], "category_id": 1}
                    for n in place
                    if place[n] == year
                    for k, color in enumerate(["red", "blue"])
                ],
            }
            for what in ("captions", "instances")
            for year in coco.YEARS
        }
    )
    images = [
        {"filepath": place[n], "filename": names[n], "cocoid": n, "split": split[n]} for n in place
    ]
    files["caption_datasets.zip"] = zipped({"dataset_coco.json": {"images": images}})
    return files


@pytest.fixture
def published(server, monkeypatch):
    """The tiny COCO on the server, in the place of the published files."""
    files = tiny_coco()
    server.files |= {f"/{name}": content for name, content in files.items()}
    remotes = {
        name: Remote(f"{server.url}/{name}", len(files[name]), sha256(files[name]))
        for name in coco.FILES
    }
    monkeypatch.setattr(coco, "FILES", remotes)
    return server


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        fetch_cli.main(list(map(str, arguments)))
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "B/s" not in each]
    assert end.value.code == 2
    return line


def test_coco_in_the_published_splits(published, tmp_path, capsys):
    out = tmp_path / "coco"
    fetch_cli.main(["coco", "--out", str(out)])
    assert "wrote train 8, restval 1, val 2, test 1 to" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["coco"]  # the downloads have gone
    train = annotations(open_prepared(out, split="train"))
    assert train[3]["file_name"] == "COCO_train2014_000000000003.jpg"
    assert train[3]["captions"] == ["a red dog on grass 3", "a blue dog on grass 3"]
    source = open_prepared(out, split="train")
    images = [source.parse(raw)["image"].numpy() for raw in source.read(np.arange(8))]
    assert images[2] == picture(2)  # not encoded again
    assert Image.open(io.BytesIO(images[3])).mode == "RGB"


def test_a_download_that_breaks_off_continues_where_it_stopped(published, tmp_path):
    size = coco.FILES["train2014.zip"].size
    published.cuts["/train2014.zip"] = size // 3
    fetch_cli.main(["coco", "--out", str(tmp_path / "coco")])
    asked = [told for path, told in published.asked if path == "/train2014.zip"]
    assert asked == ["bytes=0-", f"bytes={size // 3}-"]

    published.asked.clear()
    later = tmp_path / "later.download"
    later.mkdir()
    whole = published.files["/val2014.zip"]
    (later / "val2014.zip.part").write_bytes(whole[:100])  # of a command that was killed
    fetch_cli.main(["coco", "--out", str(tmp_path / "later")])
    assert ("/val2014.zip", "bytes=100-") in published.asked


def test_a_file_that_is_not_the_published_one_is_refused(published, tmp_path, capsys):
    content = bytearray(published.files["/train2014.zip"])
    content[50] ^= 1
    published.files["/train2014.zip"] = bytes(content)
    line = refused(capsys, "coco", "--out", tmp_path / "coco")
    assert "train2014.zip: the file has another digest than the published one" in line
    assert not (tmp_path / "coco").exists()
    assert not (tmp_path / "coco.download" / "train2014.zip.part").exists()


def test_without_a_network_or_a_file_or_room_it_is_one_line(
    published, tmp_path, capsys, monkeypatch
):
    arguments = ("coco", "--out", tmp_path / "coco")
    del published.files["/val2014.zip"]
    assert "val2014.zip cannot be reached (Not Found); is there a network?" in refused(
        capsys, *arguments
    )
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "the disk has 0.0 GB free" in refused(capsys, *arguments)
    monkeypatch.undo()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    line = refused(capsys, "weights", "bert-base-uncased", "--out", tmp_path / "bert")
    assert "http://127.0.0.1:9/api/models/google-bert/bert-base-uncased" in line
    assert "cannot be reached ([Errno 111] Connection refused); is there a network?" in line


def put_weights(server, repository, folder):
    """Puts a folder on the server as the hub does."""
    siblings = []
    for path in folder.iterdir():
        content = path.read_bytes()
        server.files[f"/{repository}/resolve/c0ffee/{path.name}"] = content
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        large = {"lfs": {"sha256": sha256(content)}} if path.suffix == ".safetensors" else {}
        siblings.append({"rfilename": path.name, "size": len(content), "blobId": blob, **large})
    told = {"sha": "c0ffee", "siblings": siblings}
    server.files[f"/api/models/{repository}"] = json.dumps(told).encode()


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """A DeiT and a BERT, tiny, on a server that answers as the hub does."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tower = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    deit = transformers.DeiTConfig(**tower, image_size=32, patch_size=16)
    bert = transformers.BertConfig(
        **tower | {"num_hidden_layers": 3}, vocab_size=len(WORDS), max_position_embeddings=16
    )
    for repository, model in (
        ("facebook/deit-base-patch16-224", transformers.DeiTModel(deit)),
        ("google-bert/bert-base-uncased", transformers.BertForMaskedLM(bert)),
    ):
        folder = tmp_path / "hub" / repository
        model.save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        put_weights(server, repository, folder)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    return server


def test_from_nothing_to_a_trained_step(published, hub, tmp_path, monkeypatch, capsys):
    """The one message names all commands, and after them the published experiment trains."""
    monkeypatch.chdir(tmp_path)
    config = coco_softmask.get_config().unlock()
    config.data.update(image_size=32, max_tokens=12, rand_augment_operations=0)
    config.batch_size, config.total_steps, config.eval.batch_size = 8, 1, 8
    config.model.embed_size = 8
    config.model.image.update(layers=2, width=16, heads=2, mlp_width=32)
    config.model.text.update(
        layers=1, fusion_layers=2, width=16, heads=2, mlp_width=32, positions=16
    )
    config.model.product_dtype, config.model.remat, config.softmask.layer = "float32", False, 0
    config.momentum.queue_size, config.log.panel_images = 16, 0
    config.eval.every_steps = 0
    config.method = "albef"  # a smaller step, which compiles in half the time
    with pytest.raises(UserError) as missing:
        loop.train(config, "run")
    for command in (
        "data.dir='data/coco': `jaxvl fetch coco --out data/coco`",
        "`jaxvl fetch weights deit-base-patch16-224 --out data/deit-base-patch16-224`",
        "data.tokenizer='data/bert-base-uncased': `jaxvl fetch weights bert-base-uncased",
    ):
        assert command in str(missing.value)
    assert not (tmp_path / "run").exists()

    fetch_cli.main(["coco", "--out", "data/coco"])
    fetch_cli.main(["weights", "deit-base-patch16-224"])
    fetch_cli.main(["weights", "bert-base-uncased", "--out", "data/bert-base-uncased"])
    config.model.allow_missing = (*config.model.allow_missing, "distillation_token")
    assert loop.train(config, "run") == 0
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["step"] == 1
    out = capsys.readouterr().out
    assert "loaded" in out

    lines = [path for path, _ in hub.asked]
    assert any("/resolve/c0ffee/model.safetensors" in path for path in lines)
    hub.files["/google-bert/bert-base-uncased/resolve/c0ffee/vocab.txt"] = b"x" * 10
    line = refused(capsys, "weights", "bert-base-uncased", "--out", "again")
    assert "vocab.txt" in line and not (tmp_path / "again").exists()


def test_hard_negatives_are_named_with_the_rest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as missing:
        needed.check(coco_ahnpl.get_config(), started=False)
    told = str(missing.value)
    assert "`jaxvl fetch coco --out data/coco`" in told
    assert "`jaxvl fetch weights clip-vit-base-patch32 --out data/clip-vit-base-patch32`" in told
    assert "`jaxvl negatives --data data/coco --out data/coco_negatives`" in told
    with pytest.raises(UserError) as missing:
        needed.check(coco_ahnpl.get_config(), started=True)
    assert "clip-vit" not in str(missing.value)
