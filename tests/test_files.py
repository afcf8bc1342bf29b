"""Writes happen wholly or not at all."""

import os
import resource
import signal
import threading
from contextlib import contextmanager

import pytest

from b4r_fast import InputError, files
from b4r_fast.files import atomic_folder, atomic_write


@contextmanager
def small_disk():
    """No file may grow beyond 1,000 bytes: the system refuses the write as it does on a full disk.
    Not for longer than a write: the limit is the whole process's, pytest's own output included.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends_and_nothing_else_stays(tmp_path):
    target = tmp_path / "new" / "folder" / "file"
    with atomic_write(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "whole"
    assert names(target.parent) == ["file"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_who_may_read_a_file_is_for_the_umask_to_say(tmp_path, umask, mode):
    """safetensors writes 0600, so a colleague could read all of a run but its model."""
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "file") as temporary:
            os.close(os.open(tmp_path / "private", os.O_CREAT, 0o600))
            os.replace(tmp_path / "private", temporary)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_or_is_interrupted_leaves_the_old_file(tmp_path, error):
    (tmp_path / "file").write_text("old")

    def write():
        with atomic_write(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_or_is_interrupted_leaves_the_old_folder(tmp_path, error):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()

    def write():
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "half").touch()
            raise error

    with pytest.raises(error):
        write()
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["old"]


def test_a_full_disk_names_the_file_and_says_that_the_old_one_is_there(tmp_path):
    target = tmp_path / "file"

    def fill():
        with small_disk(), atomic_write(target) as temporary:
            temporary.write_bytes(b"x" * 2000)

    with pytest.raises(InputError, match=r"^cannot write .*file: File too large$"):
        fill()
    target.write_text("old")
    with pytest.raises(
        InputError, match=r"^cannot write .*file: File too large; the previous file is untouched$"
    ):
        fill()
    with (
        pytest.raises(InputError, match=r"^cannot write .*folder: File too large$"),
        small_disk(),
        atomic_folder(tmp_path / "folder") as temporary,
    ):
        (temporary / "inside").write_bytes(b"x" * 2000)
    assert names(tmp_path) == ["file"]
    assert target.read_text() == "old"


def test_a_place_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    for write in (atomic_write, atomic_folder):
        with (
            pytest.raises(InputError, match=r"^cannot write .*file/inside: "),
            write(tmp_path / "file" / "inside"),
        ):
            pass


def test_an_error_of_another_file_is_not_called_a_failed_write(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="absent"),
        atomic_write(tmp_path / "file") as temporary,
    ):
        temporary.write_bytes((tmp_path / "absent").read_bytes())


@pytest.mark.parametrize("swap", [True, False], ids=["swap", "two moves"])
def test_a_folder_is_replaced_with_all_that_it_holds(tmp_path, swap, monkeypatch):
    if not swap:
        monkeypatch.setattr(files, "_swap", lambda *_: False)
    for content in ("a", "b"):
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / content).touch()
            (temporary / "deeper").mkdir()
        assert names(tmp_path / "folder") == [content, "deeper"]
        assert names(tmp_path) == ["folder"]


def test_the_old_folder_comes_back_when_the_second_move_fails(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    monkeypatch.setattr(files, "_swap", lambda *_: False)
    rename = os.rename

    def failing(source, target):
        if str(source).endswith("new"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with (
        pytest.raises(InputError, match="Input/output error; the previous folder is untouched"),
        atomic_folder(tmp_path / "folder"),
    ):
        pass
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["old"]


def test_a_reader_never_finds_the_folder_absent_while_it_is_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    if not files._swap(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system cannot swap two names in one step")
    target, absent, stop = tmp_path / "folder", [], threading.Event()
    with atomic_folder(target):
        pass

    def look():
        while not stop.is_set():
            if not target.exists():
                absent.append(True)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(30):
        with atomic_folder(target) as temporary:
            (temporary / "file").touch()
    stop.set()
    reader.join()
    assert not absent


def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_folder_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").mkdir()
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.filterwarnings("ignore:This process")
def test_a_killed_process_leaves_the_old_file_and_folder(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    child = os.fork()
    if child == 0:
        with atomic_write(tmp_path / "file") as file, atomic_folder(tmp_path / "folder") as folder:
            file.write_text("half")
            (folder / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path / "folder") == []
