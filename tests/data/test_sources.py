"""Data files: where they are looked for, how they are checked, and how they are downloaded."""

import http.server
import os
import threading

import pytest

from tinygen.data import KNOWN_FILES, DataError, cache_dir, data_root, fetch, sources

CONTENT = b"forty-two bytes of quite important content"
NAME = "toy/answer.bin"


def place(folder, content=CONTENT, name=NAME):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


# -- finding


def test_the_data_folder_comes_before_the_cache(folders, known_file):
    data, cache = folders
    known_file(NAME, CONTENT)
    in_cache = place(cache)
    assert fetch(NAME) == in_cache
    in_data = place(data)
    assert fetch(NAME) == in_data


def test_without_tinygen_data_the_root_is_the_cache(folders, monkeypatch):
    data, cache = folders
    assert data_root() == data
    monkeypatch.delenv("TINYGEN_DATA")
    assert data_root() == cache_dir() == cache
    monkeypatch.delenv("TINYGEN_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(cache_dir()) == "/home/someone/.cache/tinygen"


def test_a_missing_file_says_all_that_is_needed_to_place_it(folders, known_file):
    data, cache = folders
    file = known_file(NAME, CONTENT, ["https://example.org/answer.bin"])
    with pytest.raises(DataError) as caught:
        fetch(NAME)
    assert isinstance(caught.value, FileNotFoundError)
    for part in (
        str(data / NAME),
        str(cache / NAME),
        "https://example.org/answer.bin",
        "https://example.org/toy",
        file.sha256,
        "42 bytes",
        "download=True",
    ):
        assert part in str(caught.value)


def test_a_data_folder_that_does_not_exist_is_named(folders, known_file, monkeypatch, tmp_path):
    known_file(NAME, CONTENT)
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere', which is not a folder"):
        fetch(NAME)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(DataError, match=r"did you mean .*mnist/train-images-idx3-ubyte\.gz"):
        fetch("mnist/train-images.gz")


# -- checking


def flip_a_bit(content):
    return content[:10] + bytes([content[10] ^ 4]) + content[11:]


@pytest.mark.parametrize(
    "damage, kind, size",
    [(lambda c: c[:-5], "truncated", 37), (flip_a_bit, "damaged", 42), (lambda c: b"", "trunc", 0)],
)
def test_a_damaged_file_is_named_with_sizes_and_hashes(folders, known_file, damage, kind, size):
    file = known_file(NAME, CONTENT, ["https://example.org/answer.bin"])
    path = place(folders[0], damage(CONTENT))
    with pytest.raises(DataError, match=kind) as caught:
        fetch(NAME)
    actual = sources.sha256_of(path)
    for part in (str(path), f"{size} bytes, expected 42", actual, file.sha256, "delete it"):
        assert part in str(caught.value)
    assert not isinstance(caught.value, FileNotFoundError)


def test_a_file_is_hashed_once_until_it_changes(folders, known_file, monkeypatch):
    known_file(NAME, CONTENT)
    path = place(folders[0])
    hashed = []
    real = sources.sha256_of
    monkeypatch.setattr(sources, "sha256_of", lambda p: hashed.append(p) or real(p))
    fetch(NAME)
    fetch(NAME)
    assert len(hashed) == 1
    path.write_bytes(flip_a_bit(CONTENT))
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="damaged"):
        fetch(NAME)


# -- downloading


def test_download_from_a_file_url(folders, known_file, tmp_path):
    known_file(NAME, CONTENT, [place(tmp_path / "server").as_uri()])
    path = fetch(NAME, download=True)
    assert path == folders[1] / NAME and path.read_bytes() == CONTENT
    assert leftovers(folders[1]) == [path]
    assert fetch(NAME) == path


def test_download_replaces_a_damaged_file_in_the_cache_only(folders, known_file, tmp_path):
    data, cache = folders
    known_file(NAME, CONTENT, [place(tmp_path / "server").as_uri()])
    place(cache, b"half")
    assert fetch(NAME, download=True).read_bytes() == CONTENT
    mine = place(data, b"mine")
    with pytest.raises(DataError, match="truncated"):
        fetch(NAME, download=True)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("wrong", [CONTENT[:20], flip_a_bit(CONTENT), CONTENT * 3, b""])
def test_wrong_bytes_are_never_kept(folders, known_file, tmp_path, wrong):
    url = place(tmp_path / "server", wrong).as_uri()
    file = known_file(NAME, CONTENT, [url])
    with pytest.raises(DataError) as caught:
        fetch(NAME, download=True)
    assert leftovers(folders[1]) == []
    for part in (url, file.sha256, "expected 42 bytes", str(folders[1] / NAME)):
        assert part in str(caught.value)


def test_the_second_address_is_tried_when_the_first_fails(folders, known_file, tmp_path):
    good = place(tmp_path / "server").as_uri()
    known_file(NAME, CONTENT, [(tmp_path / "gone").as_uri(), good])
    assert fetch(NAME, download=True).read_bytes() == CONTENT


def test_a_file_that_no_address_offers_says_why(folders):
    name = "celeba/list_attr_celeba.txt"
    with pytest.raises(DataError, match="non-commercial research only") as caught:
        fetch(name, download=True)
    assert KNOWN_FILES[name].sha256 in str(caught.value)


class Server(http.server.BaseHTTPRequestHandler):
    """Sends what the path asks for: the content, half of it, or an error."""

    def do_GET(self):
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/silent":
            silent_until.wait(10)
        self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:20])

    def log_message(self, *args):
        pass


silent_until = threading.Event()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    silent_until.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        silent_until.set()
        httpd.shutdown()
        thread.join()


def test_download_over_http(folders, known_file, server):
    known_file(NAME, CONTENT, [server + "/gone", server + "/half", server + "/whole"])
    assert fetch(NAME, download=True).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "path, problem", [("/gone", "404"), ("/half", "20 bytes|IncompleteRead"), ("/silent", "timed")]
)
def test_a_failing_server_leaves_nothing(folders, known_file, server, path, problem):
    known_file(NAME, CONTENT, [server + path])
    with pytest.raises(DataError, match=problem):
        fetch(NAME, download=True, timeout=0.3)
    assert leftovers(folders[1]) == []


def test_an_interrupted_write_leaves_nothing(tmp_path):
    target = tmp_path / "deep" / "file.bin"
    with pytest.raises(KeyboardInterrupt), sources.atomic_file(target) as out:
        out.write(b"half")
        raise KeyboardInterrupt
    assert leftovers(tmp_path) == []
    with sources.atomic_file(target) as out:
        out.write(b"whole")
    assert target.read_bytes() == b"whole" and leftovers(tmp_path) == [target]


# -- the table


def test_the_table_is_well_formed():
    assert len(KNOWN_FILES) == 44
    for name, file in KNOWN_FILES.items():
        assert file.name == name and file.size > 0 and file.page.startswith("http")
        assert len(file.sha256) == 64 and int(file.sha256, 16)
        assert file.licence and all(url.endswith(name.split("/")[-1]) for url in file.urls)


def test_the_real_files_are_those_of_the_table(real_data):
    for name in KNOWN_FILES:
        assert fetch(name) == real_data / name
