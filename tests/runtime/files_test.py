"""Files appear complete or not at all, whoever else writes; paths are what a person means."""

import os
import pathlib
import threading

import pytest

from debir_jax.runtime import files


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
  """As if it had never begun."""
  path = tmp_path / "a.json"
  files.write_text(path, "old")

  def full(descriptor):
    raise OSError("no space left on device")

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(OSError, match="no space"):
    files.write_text(path, "new")
  assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_json_has_null_for_what_is_not_finite(tmp_path):
  """NaN is no JSON: browsers and jq refuse the whole file. Everything else stays as it is."""
  files.write_json(tmp_path / "a.json", dict(low=float("nan"), rows=[dict(a=float("inf"), b=1.5), (2, "NaN", None)]))
  found = files.read_json(tmp_path / "a.json", "")
  assert found == dict(low=None, rows=[dict(a=None, b=1.5), [2, "NaN", None]])


def test_two_writers_do_not_get_into_each_others_way(tmp_path, monkeypatch):
  """One that is half done when another begins and ends: both succeed, and the file is whole."""
  path, begun, go = tmp_path / "a", threading.Event(), threading.Event()
  replace, waiting = os.replace, []

  def slow(source, target):
    if not waiting:
      waiting.append(source)
      begun.set()
      go.wait(60)
    replace(source, target)

  monkeypatch.setattr(os, "replace", slow)
  first = threading.Thread(target=files.write_bytes, args=(path, b"first" * 1000))
  first.start()
  assert begun.wait(60)
  files.write_bytes(path, b"second")
  assert path.read_bytes() == b"second"
  go.set()
  first.join()
  assert path.read_bytes() == b"first" * 1000 and os.listdir(tmp_path) == ["a"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  """Otherwise a crash of the machine leaves an empty file behind the right name."""
  done, fsync, replace = [], os.fsync, os.replace
  monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("sync"), fsync(descriptor)))
  monkeypatch.setattr(os, "replace", lambda *names: (done.append("name"), replace(*names)))
  files.write_bytes(tmp_path / "a", b"content")
  assert done[:2] == ["sync", "name"]


def test_files_may_be_read_by_whom_others_are(tmp_path):
  """Like those that `open` makes, not for their writer alone."""
  files.write_text(tmp_path / "ours", "")
  (tmp_path / "plain").write_text("")
  assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("content", ("", "{\"a\": 1", "\0\0\0"))
def test_damaged_json_is_named_with_the_way_on(tmp_path, content):
  """An empty file is what a crash of the machine leaves."""
  path = tmp_path / "config.json"
  path.write_text(content)
  with pytest.raises(ValueError, match=f"{path} is damaged .* Delete it."):
    files.read_json(path, "Delete it.")


@pytest.mark.parametrize("content, message", (
    (b"", "is empty. Download it again"), (b"\n<!doctype HTML>", "is a web page"), (b"<?xml version", "is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", r"is a pointer of Git LFS, .* `git lfs pull`")))
def test_what_a_download_left_in_place_of_a_file_is_named(tmp_path, content, message):
  (tmp_path / "net.pth").write_bytes(content)
  with pytest.raises(ValueError, match=f"net.pth {message}"):
    files.check_downloaded(tmp_path / "net.pth")


@pytest.mark.parametrize("content", (b"PK\3\4", b"\x80\2}q\0.", (8508).to_bytes(8, "little") + b"{}", b"version 3"))
def test_other_files_are_let_through(tmp_path, content):
  """A header of safetensors may be 8508 bytes long, which is written "<!"."""
  (tmp_path / "net.pth").write_bytes(content)
  files.check_downloaded(tmp_path / "net.pth")


@pytest.mark.parametrize("address", ("s3://bucket/run", "gs://bucket", "hdfs://host/x", "file:///tmp/run",
                                     "s3:/bucket", "s3://bucket/photos", "hdfs://host/photos"))
def test_addresses_are_refused_at_once(address):
  """A folder called "s3:" is never meant."""
  with pytest.raises(ValueError, match=f"--workdir={address} is an address.*Copy the files here"):
    files.local_path(address, "--workdir")


def test_home_is_expanded(monkeypatch, tmp_path):
  """Also where the shell does not do it, as behind "="."""
  monkeypatch.setenv("HOME", "/home/me")
  assert files.local_path("~/photos", "x") == pathlib.Path("/home/me/photos")
  assert files.local_path("runs/a:b", "x") == pathlib.Path("runs/a:b")
  assert files.local_path(tmp_path / "a:b", "x") == tmp_path / "a:b"
  with pytest.raises(ValueError, match="--to=~nobody_of_that_name/x: .*home"):
    files.local_path("~nobody_of_that_name/x", "--to")
