"""Fetching: resume, hashes, offline words. A server on this machine stands in for the network."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from volovan.models.preprocessing import Preprocessing
from volovan.models.weights import WeightsError, download, load_weights
from volovan.models.weights.table import Entry, Source, get_entry

CONTENT = bytes(range(256)) * 4000  # 1 MB
HUB_ANSWERS = download._hub_answers
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every path but /missing; knows ranges unless told otherwise; can cut a connection."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []  # their Range headers
        self.cut_after: int | None = None
        self.ranges = True


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.headers.get("Range"))
        if self.path == "/missing":
            return self.send_error(404)
        start = 0
        if self.server.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                return self.send_error(416)
            self.send_response(206)
        else:
            self.send_response(200)
        body = CONTENT[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cut_after
        self.wfile.write(body if cut is None else body[:cut])
        return None

    def log_message(self, *_args):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _own_caches(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "_hub_answers", lambda: True)


def url(server, path="/van.pth"):
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def test_download_writes_the_whole_file(server, tmp_path):
    target = tmp_path / "deep" / "van.pth"
    assert download.download_url(url(server), target, SHA256[:8]) == target
    assert target.read_bytes() == CONTENT
    assert not list(target.parent.glob("*.part"))


def test_download_resumes_after_a_cut_connection(server, tmp_path):
    target = tmp_path / "van.pth"
    server.cut_after = 300_000
    with pytest.raises(OSError, match=rf"ended after 300000 of {len(CONTENT)} bytes; call again to continue"):
        download.download_url(url(server), target)
    assert not target.exists()
    server.cut_after = None
    download.download_url(url(server), target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]


def test_download_starts_over_where_the_server_knows_no_ranges(server, tmp_path):
    target = tmp_path / "van.pth"
    (tmp_path / "van.pth.part").write_bytes(b"x" * 1000)
    server.ranges = False
    download.download_url(url(server), target)
    assert target.read_bytes() == CONTENT


def test_download_starts_over_when_the_part_is_longer_than_the_file(server, tmp_path):
    target = tmp_path / "van.pth"
    (tmp_path / "van.pth.part").write_bytes(b"x" * (len(CONTENT) + 1))
    download.download_url(url(server), target)
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_download_removes_a_file_of_another_hash(server, tmp_path):
    with pytest.raises(OSError, match=f"SHA-256 starts with {SHA256[:8]}, expected 00000000"):
        download.download_url(url(server), tmp_path / "van.pth", "00000000")
    assert not list(tmp_path.glob("van.pth*part"))
    assert not (tmp_path / "van.pth").exists()


def test_download_of_several_processes_at_once_fetches_once(server, tmp_path):
    target = tmp_path / "van.pth"
    threads = [threading.Thread(target=download.download_url, args=(url(server), target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1


def entry(*sources):
    return Entry("van_x", "van_b0", 224, "nothing", 10, Preprocessing((224, 224)), "Apache-2.0", sources)


def test_fetch_takes_the_first_source_that_answers(server):
    path = download.fetch(
        entry(Source("original", url=url(server, "/missing")), Source("original", url=url(server), sha256=SHA256[:8]))
    )
    assert path.read_bytes() == CONTENT
    assert path.parent.name == "checkpoints"
    asked = len(server.requests)
    assert download.fetch(entry(Source("original", url=url(server)))) == path  # from the cache
    assert len(server.requests) == asked


def test_fetch_says_what_to_do_when_nothing_answers(server):
    dead = Source("original", url="http://127.0.0.1:9/van.pth")
    with pytest.raises(WeightsError) as error:
        download.fetch(entry(Source("original", url=url(server, "/missing")), dead))
    text = str(error.value)
    assert "the weights van_x could not be fetched" in text
    assert "the server answers 404" in text
    assert "http://127.0.0.1:9/van.pth (" in text
    assert "download one of these files elsewhere and pass its path as weights=" in text
    assert "\n" not in text


def test_offline_is_respected_for_both_kinds_of_source(monkeypatch, server):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub = Source("timm", repo="timm/volo_d1_224.sail_in1k", file="model.safetensors")
    with pytest.raises(WeightsError) as error:
        download.fetch(entry(hub, Source("original", url=url(server))))
    assert str(error.value) == (  # one reason of all is said once, with the address that comes first
        "the weights van_x could not be fetched: not in the cache, and HF_HUB_OFFLINE is set; leave out weights and "
        f"pretrained to start without them, or download {hub.address} elsewhere and pass its path as weights="
    )
    assert server.requests == []


# The hub client, with the network replaced


def hub_file(cache: Path, content: bytes, name: str) -> Path:
    """A file as the hub keeps it: a link to a blob that is named by its hash."""
    blob = cache / "blobs" / name
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link = cache / "snapshots" / "main" / "model.safetensors"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(blob)
    return link


def test_hub_files_come_through_its_client_and_are_hashed(monkeypatch, tmp_path):
    asked = []

    def answer(repo, file):
        asked.append((repo, file))
        return str(hub_file(tmp_path, CONTENT, SHA256))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answer)
    path = download.fetch(get_entry("volo_d1_224"))
    assert path.read_bytes() == CONTENT
    assert asked == [("timm/volo_d1_224.sail_in1k", "model.safetensors")]


def test_hub_files_of_another_hash_are_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: str(hub_file(tmp_path, b"cut", SHA256)))
    with pytest.raises(OSError, match="does not have the SHA-256 that the hub states"):
        download.download_hub("org/repo", "model.safetensors")
    assert not (tmp_path / "blobs" / SHA256).exists()


def test_hub_names_try_the_usual_files(monkeypatch, tmp_path):
    asked = []

    def answer(repo, file):
        asked.append(file)
        if file == "model.safetensors":
            raise type("RemoteEntryNotFoundError", (Exception,), {})("404")
        return str(hub_file(tmp_path, CONTENT, SHA256))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answer)
    assert download.fetch_hub("org/repo").read_bytes() == CONTENT
    assert asked == ["model.safetensors", "pytorch_model.bin"]
    with pytest.raises(WeightsError, match="'repo' is no hub name, expected hf:organisation/repository"):
        download.fetch_hub("repo")


@pytest.mark.parametrize("source", ["hf:org/repo", "hf:org/repo/sub/weights.pth"])
def test_hub_names_are_accepted_by_load_weights(monkeypatch, source):
    import volovan

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"org/repo on the hub gave no weights: .*HF_HUB_OFFLINE is set"):
        load_weights(volovan.create_model("van", embed_dims=(8,) * 4, depths=(1,) * 4), source)


def test_hub_without_a_network_gives_up_before_the_client_retries(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "_hub_answers", HUB_ANSWERS)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *names: asked.append(names))
    with pytest.raises(OSError, match="no network, and the file is not in the cache"):
        download.download_hub("org/repo", "model.safetensors")
    assert not asked
    link = str(hub_file(tmp_path, CONTENT, SHA256))  # what is in the cache needs no network
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: link)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: link)
    assert download.download_hub("org/repo", "model.safetensors") == Path(link)


def test_hub_that_answers_is_left_to_its_client(monkeypatch, server):
    monkeypatch.setattr(download, "_hub_answers", HUB_ANSWERS)
    monkeypatch.setattr(constants, "ENDPOINT", url(server, "/"))  # it answers 501 to HEAD, which is an answer

    def refuse(*_names):
        raise type("RepositoryNotFoundError", (Exception,), {})("404")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(OSError, match="no such repository, or it is private"):
        download.download_hub("org/repo", "model.safetensors")


def test_hub_cache_serves_offline(monkeypatch, tmp_path):
    """The real client, on a cache as it lays it out."""
    repo = tmp_path / "hub" / "models--org--repo"
    commit = "0" * 40
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    (snapshot / "weights.pth").write_bytes(CONTENT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert download.download_hub("org/repo", "weights.pth").read_bytes() == CONTENT
    with pytest.raises(OSError, match="not in the cache, and HF_HUB_OFFLINE is set"):
        download.download_hub("org/repo", "other.pth")
