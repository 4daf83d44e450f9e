"""The settings of volumes: what is wrong with them is said before anything is opened."""

from __future__ import annotations

import os

import attrs
import pytest

from backends.volume import frames, volume_settings
from backends.volume.environment import Options
from backends.volume.volume_settings import VolumeSettings, key_source, problems
from gateway.errors import ExportUnavailable
from gateway.settings import read


def settings(**keys):
    """As from texts."""
    found, wrong = read(VolumeSettings, keys, "/", str, "vm1")
    assert wrong == []
    return found


def secret(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_only_the_name_is_needed():
    """The defaults are free of mistakes, and those of the volume itself."""
    assert problems(settings()) == []
    assert settings().prefix == "vm1"
    assert settings().options() == Options()


def test_with_a_journal_changes_wait_longer_for_others_to_come():
    """The journal has them, and each object costs; whoever names a delay gets it."""
    assert settings(durability="journal").options().upload_delay == 30
    assert settings(durability="journal", upload_delay="2").options().upload_delay == 2
    assert settings(durability="journal", upload_delay="0").options().upload_delay == 0


def test_every_option_of_a_volume_comes_from_a_key():
    """What a key says arrives where the volume looks."""
    chosen = settings(
        object_size="1M",
        upload_delay="0.5",
        dirty_limit="8M",
        flush_deadline="7",
        checkpoint_delay="9",
        map_memory="8M",
        gc="no",
        gc_begin="0.5",
        gc_end="0.6",
        gc_rate="1M",
        sweep_delay="0",
    ).options()
    assert chosen == attrs.evolve(
        Options(),
        object_bytes=1 << 20,
        upload_delay=0.5,
        dirty_limit=8 << 20,
        flush_deadline=7.0,
        checkpoint_delay=9.0,
        map_memory=8 << 20,
        collect=False,
        live_low=0.5,
        live_high=0.6,
        collect_rate=float(1 << 20),
        sweep_delay=0.0,
    )


@pytest.mark.parametrize("prefix", ["vm1", "a/b/c", "Ä b+c%20&?#=", "v" * 900, "vm1/"])
def test_a_prefix_may_be_any_path_of_printable_names(prefix):
    """Operators' names are their own; a slash behind the last one says nothing."""
    assert settings(prefix=prefix).prefix == prefix.rstrip("/")


@pytest.mark.parametrize(
    "prefix", ["/a", "a//b", "..", "a/../b", "a/.", "a\nb", "a\0b", "v" * 901, "/"]
)
def test_a_prefix_that_no_store_can_hold_is_refused(prefix):
    """What would be another path, or none, in some store."""
    _, (problem,) = read(VolumeSettings, {"prefix": prefix}, "/", str, "vm1")
    assert problem.startswith(f'prefix: got "{prefix}", expected names of printable characters')


def test_an_export_whose_name_is_no_prefix_needs_one():
    """The message is about the key that is missing."""
    _, (problem,) = read(VolumeSettings, {}, "/", str, "../vm1")
    assert problem.startswith('prefix: got "../vm1", expected names')


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"size": "1000"}, "size: got 1000, expected a multiple of 512 bytes, from 512 to "),
        ({"size": "0"}, "size: got 0, expected a multiple of 512 bytes"),
        ({"size": str(2**57 + 512)}, f"size: got {2**57 + 512}, expected"),
        ({"journal_size": "127M"}, "journal_size: got 133169152, expected 128M or more"),
        ({"object_size": "16M"}, "object_size: got 16777216, expected 256K to 8M"),
        ({"object_size": "4K"}, "object_size: got 4096, expected 256K to 8M"),
        ({"dirty_limit": "8M"}, "dirty_limit: got 8388608, expected twice object_size or more"),
        ({"map_memory": "1M"}, "map_memory: got 1048576, expected 4M or more"),
        ({"cache_size": "1M"}, "cache_size: got 1048576, expected 0, or 4M or more"),
        ({"gc_begin": "0.9"}, "gc_begin: got 0.9, expected less than gc_end, which is 0.8"),
        ({"gc_rate": "0"}, "gc_rate: got 0, expected some bytes a second (or gc = no)"),
    ],
)
def test_sizes_that_do_not_do_are_said(keys, expected):
    """With what was got and what was expected."""
    (problem,) = problems(settings(**keys))
    assert problem.startswith(expected)


def test_a_compression_whose_package_is_missing_is_said(monkeypatch):
    """At the check, not at the first write."""
    monkeypatch.setattr(frames, "lz4_block", None)
    (problem,) = problems(settings(compression="lz4"))
    assert problem == "compression: got lz4, expected the Python package lz4 to be installed"


def test_a_key_and_a_passphrase_are_read_from_files(tmp_path):
    """In the forms that the keys' documentation names."""
    key = secret(tmp_path / "key", b"ab" * 32 + b"\n")
    phrase = secret(tmp_path / "phrase", "päss phrase\n".encode())
    assert key_source(settings()) is None
    assert key_source(settings(key_file=key)).method == "key-file"
    assert key_source(settings(passphrase_file=phrase)).method == "passphrase"
    assert problems(settings(key_file=key)) == problems(settings(passphrase_file=phrase)) == []


@pytest.mark.parametrize("kind", ["key_file", "passphrase_file"])
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_that_others_can_read_is_refused(tmp_path, kind, mode):
    """Group and others; the permissions are named, the content never."""
    name = secret(tmp_path / "secret", b"ab" * 32, mode)
    (problem,) = problems(settings(**{kind: name}))
    assert problem == (
        f"{kind}: got {name} with permissions {mode:04o}, expected none for group and others: 0600"
    )
    with pytest.raises(ExportUnavailable, match="expected none for group and others"):
        key_source(settings(**{kind: name}))


@pytest.mark.parametrize(
    ("content", "key_problem", "passphrase_problem"),
    [
        (b"swordfish", "key_file: key file: got 9 bytes that are no key", None),
        (b"", "key_file: key file: got 0 bytes", "passphrase_file: passphrase: got an empty one"),
        (b"\xff" * 8, "key_file: key file: got 8 bytes", "passphrase_file: got bytes that are not"),
    ],
)
def test_a_file_that_holds_no_secret_is_said(tmp_path, content, key_problem, passphrase_problem):
    """Without quoting what it holds."""
    name = secret(tmp_path / "secret", content)
    (problem,) = problems(settings(key_file=name))
    assert problem.startswith(key_problem)
    assert "swordfish" not in problem
    found = problems(settings(passphrase_file=name))
    assert [problem.startswith(passphrase_problem or "?") for problem in found] == [True] * len(
        found
    )
    assert bool(found) is (passphrase_problem is not None)


def test_a_secret_that_is_missing_or_no_file_is_said(tmp_path):
    """A pipe must not make anyone wait."""
    (problem,) = problems(settings(key_file=str(tmp_path / "none")))
    assert problem == f"key_file: got {tmp_path}/none: No such file or directory, expected a file"
    os.mkfifo(tmp_path / "pipe")
    (problem,) = problems(settings(key_file=str(tmp_path / "pipe")))
    assert problem == f"key_file: got {tmp_path}/pipe, expected a regular file"


def test_two_secrets_are_one_too_many(tmp_path):
    """Which of them would wrap a new volume's key?"""
    name = secret(tmp_path / "key", b"ab" * 32)
    (problem,) = problems(settings(key_file=name, passphrase_file=name))
    assert problem.startswith("passphrase_file: got one beside a key_file")


@pytest.mark.parametrize("text", ["0", "1", "-1", "nan", "half"])
def test_a_part_lies_between_nothing_and_all(text):
    """Zero and one would mean never and always."""
    _, (problem,) = read(VolumeSettings, {"gc_end": text}, "/", str, "vm1")
    assert problem == f'gc_end: got "{text}", expected a number between 0 and 1, such as 0.75'


def test_the_codec_is_what_volumes_call_it():
    """``off`` is a word for operators."""
    assert [settings(compression=name).codec for name in ("zstd", "lz4", "off")] == [
        "zstd",
        "lz4",
        "none",
    ]
    assert volume_settings.problems(settings(compression="lz4")) == []
