"""Provider ``directory``: from a section of the configuration to a volume, or to why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher
from zope.interface.verify import verifyObject

from backends.objects.contract import Exists
from backends.volume import directory_provider
from backends.volume.directory_provider import DirectoryProvider, check_names
from backends.volume.shared_caches import CACHES, MEMORY
from gateway.errors import Closed, ExportBusy, ExportUnavailable
from gateway.info import MIB
from gateway.interfaces import IExport, IStorageProvider
from tests.doubles.threads import SyncThreads

provider = DirectoryProvider()

BLOCK = b"\xa5" * 4096


@pytest.fixture
def logged():
    """Events of the log, as texts with their levels."""
    events = []

    def observe(event):
        text = event.get("log_format") or ""
        events.append((event["log_level"], text.format(**event)))

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def of_level(logged, level):
    return [text for found, text in logged if found is level]


def opened(machine, **keys):
    """A volume of 64 MiB, created if need be."""
    given = {"path": "objects", "size": "64M", **keys}
    read_only = given.pop("read_only", False)
    return machine.open(provider, machine.settings(provider, **given), read_only)


def refused(machine, **keys):
    """What opening complained about."""
    with pytest.raises(ExportUnavailable) as failure:
        opened(machine, **keys)
    return str(failure.value)


def crash(machine, export):
    """Lose the process: nothing is flushed, the store hears no more, locks go."""
    parts = export._export._parts
    machine.settle(Deferred.fromCoroutine(export._release()))
    parts.condition.fail(Closed("crashed"))
    machine.settle(parts.journaling.journal.close(False))


def test_it_provides_the_interface():
    assert verifyObject(IStorageProvider, provider)


def test_a_volume_is_created_and_found_again(machine):
    """What was written is there; the export keeps the law."""
    export = opened(machine)
    assert verifyObject(IExport, export)
    assert export.info.size == 64 * MIB
    machine.settle(export.write(MIB, BLOCK, True))
    machine.settle(export.close())
    assert (machine.directory / "objects").stat().st_mode & 0o777 == 0o700
    again = opened(machine, size="64M")
    assert bytes(machine.settle(again.read(MIB, 4096))) == BLOCK
    machine.settle(again.close())


def test_a_volume_keeps_its_size(machine, logged):
    """Another size in the file is a warning, not a change."""
    machine.settle(opened(machine).close())
    export = opened(machine, size="128M")
    assert export.info.size == 64 * MIB
    machine.settle(export.close())
    (warning,) = of_level(logged, LogLevel.warn)
    assert warning == (
        f"export vm1 keeps the size of its volume, {64 * MIB} bytes;"
        f" size = {128 * MIB} is for a new one"
    )


def test_without_a_size_nothing_is_created(machine):
    """A mistyped prefix does not become an empty disk."""
    settings = machine.settings(provider, path="objects", prefix="vm2")
    with pytest.raises(ExportUnavailable, match="no volume in directory .*, prefix vm2: expected"):
        machine.open(provider, settings)
    assert list((machine.directory / "objects").iterdir()) == []


def test_objects_of_others_are_not_built_upon(machine):
    """Nor what is left of a volume that somebody deleted in part."""
    export = opened(machine)
    machine.settle(export.write(0, BLOCK, True))
    machine.settle(export.close())
    for superblock in (machine.directory / "objects" / "vm1" / "sb").iterdir():
        superblock.unlink()
    text = refused(machine)
    assert text.startswith("prefix: got vm1, where directory ")
    assert "such as vm1/" in text
    assert "expected an empty place" in text


def test_a_volume_may_have_an_odd_name(machine):
    """Slashes make folders, the rest is the operator's taste."""
    for prefix in ("a/b", "Ä b+c%20&?#=", "sp ace"):
        export = opened(machine, prefix=prefix)
        machine.settle(export.write(0, BLOCK, True))
        machine.settle(export.close())
        assert (machine.directory / "objects" / prefix / "sb").is_dir()
        again = opened(machine, prefix=prefix)
        assert bytes(machine.settle(again.read(0, 4096))) == BLOCK
        machine.settle(again.close())


def test_two_names_of_one_volume_are_one(machine):
    """However the path is cut into directory and prefix, and through links."""
    (machine.directory / "objects").mkdir()
    os.symlink(machine.directory / "objects", machine.directory / "link")
    same = [
        machine.settings(provider, path="objects", prefix="a/b"),
        machine.settings(provider, path="objects/a", prefix="b"),
        machine.settings(provider, path="link", prefix="a/b/"),
    ]
    assert len({provider.identity(one) for one in same}) == 1
    other = machine.settings(provider, path="objects", prefix="a/c")
    assert provider.identity(other) != provider.identity(same[0])


@pytest.mark.parametrize(
    ("keys", "read_only", "expected"),
    [
        ({"path": "nowhere/objects"}, False, "expected a directory, or a place for one"),
        ({"path": "objects"}, True, "expected an existing directory, for read_only = yes"),
        ({"path": "file"}, False, "/file, expected a directory"),
        ({"path": "objects", "prefix": ".tmp/a"}, False, "prefix: got .tmp/a, expected one that"),
        ({"path": "objects", "prefix": "lost+found"}, False, "prefix: got lost+found, expected"),
        ({"path": "objects", "prefix": "v" * 256}, False, "expected names of at most 255 bytes"),
        ({"path": "objects", "size": "1000"}, False, "size: got 1000, expected a multiple of 512"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_opened(machine, keys, read_only, expected):
    """Each mistake names its key, what was got and what was expected."""
    (machine.directory / "file").write_text("")
    (problem,) = provider.problems(machine.settings(provider, **keys), read_only)
    assert expected in problem
    assert problem.split(":")[0] in keys
    assert sorted(os.listdir(machine.directory)) == ["file"]


def test_a_directory_that_cannot_be_written_to_is_said(machine, monkeypatch):
    """At the check; as root every directory can be written to, so it is asked."""
    (machine.directory / "objects").mkdir()
    monkeypatch.setattr(directory_provider.os, "access", lambda path, mode: not mode & os.W_OK)
    settings = machine.settings(provider, path="objects")
    (problem,) = provider.problems(settings, False)
    assert problem.endswith(
        "/objects, expected a directory that is readable and writable (or read_only = yes)"
    )
    assert provider.problems(settings, True) == []
    (problem,) = provider.problems(machine.settings(provider, path="new"), False)
    assert "expected it in a directory that can be written to" in problem


def test_a_directory_that_turns_out_to_be_a_file_is_said(machine):
    """It may have changed since the check."""
    settings = machine.settings(provider, path="objects", size="64M")
    opening = provider.open_export  # the check found nothing wrong
    Path(settings.path).write_text("")
    with pytest.raises(ExportUnavailable, match="/objects, expected a directory"):
        machine.settle(opening("vm1", settings, False, machine.resources))


def secret(machine, name, content):
    path = machine.directory / name
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


def test_a_volume_opens_with_its_passphrase_alone(machine):
    """The wrong one, none, and one for a plain volume are told apart."""
    right = secret(machine, "right", b"open sesame")
    wrong = secret(machine, "wrong", b"swordfish")
    export = opened(machine, passphrase_file=right)
    machine.settle(export.write(0, BLOCK, True))
    machine.settle(export.close())
    text = refused(machine, passphrase_file=wrong)
    assert text.endswith("the key or passphrase does not open this volume")
    assert "swordfish" not in text
    assert "expected a key_file or passphrase_file" in refused(machine)
    again = opened(machine, passphrase_file=right)
    assert bytes(machine.settle(again.read(0, 4096))) == BLOCK
    machine.settle(again.close())
    machine.settle(opened(machine, prefix="plain").close())
    text = refused(machine, prefix="plain", passphrase_file=right)
    assert text.endswith("a key was given, and the volume is not encrypted")


@pytest.mark.parametrize("compression", ["zstd", "lz4", "off"])
def test_a_new_volume_is_compressed_as_asked(machine, compression):
    """An existing one stays as it is, whatever the file says."""
    export = opened(machine, compression=compression)
    machine.settle(export.write(0, bytes([1, 2]) * MIB, True))
    machine.settle(export.close())
    stored = sum(path.stat().st_size for path in (machine.directory / "objects/vm1/log").iterdir())
    assert (stored > 2 * MIB) is (compression == "off")
    again = opened(machine, compression="off")
    assert bytes(machine.settle(again.read(MIB, 2))) == b"\1\2"
    machine.settle(again.close())


def test_a_damaged_superblock_is_named(machine):
    """The export is unavailable; the others go on."""
    machine.settle(opened(machine).close())
    newest = max((machine.directory / "objects/vm1/sb").iterdir())
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    assert f"vm1/sb/{newest.name}" in refused(machine)


def test_what_was_opened_is_closed_when_opening_fails(machine):
    """Neither threads nor memory nor the lock of a cache or a journal stay behind."""
    others = dict(MEMORY._limits)
    keys = {"durability": "journal", "journal_size": "128M", "cache_size": "4M"}
    machine.settle(opened(machine, **keys).close())
    log = machine.directory / "objects/vm1/log"
    good = {path: path.read_bytes() for path in log.iterdir()}
    for path in good:
        path.write_bytes(b"damaged")
    assert "vm1/log/" in refused(machine, **keys)
    assert CACHES._lent == {} and MEMORY._limits == others
    for path, data in good.items():
        path.write_bytes(data)
    export = opened(machine, **keys)
    assert CACHES._lent != {} and MEMORY._limits != others
    machine.settle(export.close())
    assert CACHES._lent == {} and MEMORY._limits == others


def test_a_volume_that_is_only_read_is_not_touched(machine):
    """Nothing is put, so nobody is taken over."""
    export = opened(machine)
    machine.settle(export.write(0, BLOCK, True))
    before = sorted((machine.directory / "objects").rglob("*"))
    reader = opened(machine, read_only=True)
    assert reader.info.read_only
    assert bytes(machine.settle(reader.read(0, 4096))) == BLOCK
    machine.settle(reader.close())
    assert sorted((machine.directory / "objects").rglob("*")) == before
    machine.settle(export.write(0, BLOCK, True))
    machine.settle(export.close())
    assert "no volume in" in refused(machine, prefix="vm2", read_only=True)


JOURNAL = {"durability": "journal", "journal_size": "128M", "upload_delay": "3600"}


def write_and_crash(machine):
    """A block that only the journal has."""
    export = opened(machine, **JOURNAL)
    machine.settle(export.write(0, BLOCK, True))
    crash(machine, export)


def journals(machine):
    return sorted(path.name for path in (machine.directory / "nbdgateway-state/journals").iterdir())


def test_what_only_the_journal_has_comes_back(machine):
    """A flush was answered, so it counts."""
    write_and_crash(machine)
    again = opened(machine, **JOURNAL)
    assert bytes(machine.settle(again.read(0, 4096))) == BLOCK
    machine.settle(again.close())
    assert len(journals(machine)) == 1


def test_a_journal_is_needed_unless_the_loss_is_accepted(machine):
    """Here as on another machine."""
    write_and_crash(machine)
    text = refused(machine)
    assert "may be in the journal of host" in text
    assert "accept_loss = yes" in text
    export = opened(machine, accept_loss="yes")
    assert bytes(machine.settle(export.read(0, 4096))) == bytes(4096)
    machine.settle(export.close())


@pytest.mark.parametrize("accept_loss", ["no", "yes"])
def test_a_journal_that_the_volume_has_outlived_is_kept_aside(machine, logged, accept_loss):
    """Its old blocks must not come back; the log says what is in it."""
    write_and_crash(machine)
    newer = b"\x5a" * 4096
    elsewhere = opened(machine, accept_loss="yes")
    machine.settle(elsewhere.write(0, newer, True))
    machine.settle(elsewhere.close())
    logged.clear()
    export = opened(machine, accept_loss=accept_loss, **JOURNAL)
    assert bytes(machine.settle(export.read(0, 4096))) == newer
    machine.settle(export.write(8192, BLOCK, True))
    machine.settle(export.close())
    (text,) = of_level(logged, LogLevel.critical)
    assert "1 records are lost" in text
    assert "4096 bytes written" in text
    assert "in sectors 0-7" in text
    kept = [name for name in journals(machine) if ".epoch-" in name]
    assert len(kept) == 1
    assert kept[0] in text


def test_a_journal_whose_records_are_all_stored_goes_in_silence(machine, logged):
    """A crash between the last superblock and the journal's own mark is no loss."""
    export = opened(machine, **JOURNAL)
    machine.settle(export.write(0, BLOCK, True))
    (name,) = journals(machine)
    path = machine.directory / "nbdgateway-state/journals" / name
    before = path.read_bytes()
    machine.settle(export.close())
    path.write_bytes(before)
    again = opened(machine, **JOURNAL)
    assert bytes(machine.settle(again.read(0, 4096))) == BLOCK
    machine.settle(again.close())
    assert journals(machine) == [name]
    assert of_level(logged, LogLevel.critical) == []


def test_a_journal_that_another_process_holds_is_busy(machine):
    """The volume is not even asked for."""
    export = opened(machine, **JOURNAL)
    with pytest.raises(ExportBusy):
        opened(machine, **JOURNAL)
    machine.settle(export.write(0, BLOCK, True))
    machine.settle(export.close())


class Names:
    """A store that answers puts as it is told, and remembers what was deleted."""

    def __init__(self, twice, content):
        self.twice = twice
        self.content = content
        self.puts = 0
        self.deleted = []

    def put(self, key, parts, if_absent):
        def answer():
            self.puts += 1
            if if_absent and self.puts > 1 and not self.twice:
                raise Exists(key)

        return SyncThreads().call_in_thread(answer)

    def get(self, key, start, length):
        return SyncThreads().call_in_thread(lambda: self.content)

    def delete(self, keys):
        self.deleted += keys
        return SyncThreads().call_in_thread(list)

    def describe(self):
        return "directory /d"


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (Names(False, b"third"), None),
        (Names(True, b"third"), "linked to a name that was taken"),
        (Names(False, b"first"), "got b'first' from a file of b'third'"),
    ],
)
def test_a_file_system_that_does_not_keep_names_is_refused(machine, store, expected):
    """Two gateways would destroy each other's work; what was tried is deleted."""
    trying = Deferred.fromCoroutine(check_names(store, "vm1/probe/x"))
    if expected is None:
        machine.settle(trying)
    else:
        with pytest.raises(ExportUnavailable, match=expected):
            machine.settle(trying)
    assert store.deleted == ["vm1/probe/x"]
