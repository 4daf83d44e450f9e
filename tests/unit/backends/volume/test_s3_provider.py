"""Provider ``s3``: volumes in buckets of a server on this machine, and what stands in the way."""

from __future__ import annotations

import json

import pytest
from zope.interface.verify import verifyObject

from backends.volume.s3_provider import S3Provider
from gateway.errors import ExportUnavailable
from gateway.info import MIB
from gateway.interfaces import IStorageProvider
from tests.doubles import s3_faults
from tests.doubles.moto_server import (
    ACCESS_KEY,
    SECRET_KEY,
    S3Server,
    aws_environment,
    s3_process,
    s3_server,
)

__all__ = ["aws_environment", "s3_process", "s3_server"]

provider = S3Provider()

BLOCK = b"\xa5" * 4096


def settings_for(machine, server: S3Server, **keys):
    given = {
        "bucket": server.bucket,
        "endpoint_url": server.url,
        "region": "us-east-1",
        "retry_deadline": "0",
        "size": "64M",
        **keys,
    }
    return machine.settings(provider, **given)


def opened(machine, server, read_only=False, **keys):
    """A volume of 64 MiB, created if need be."""
    return machine.open(provider, settings_for(machine, server, **keys), read_only)


def refused(machine, server, **keys):
    """What opening complained about; it is never a secret."""
    with pytest.raises(ExportUnavailable) as failure:
        opened(machine, server, **keys)
    assert SECRET_KEY not in str(failure.value)
    return str(failure.value)


def test_it_provides_the_interface():
    assert verifyObject(IStorageProvider, provider)


def test_a_volume_is_created_and_found_again(machine, s3_server):
    """What was written is there, in the volume's own folder."""
    export = opened(machine, s3_server)
    machine.settle(export.write(MIB, BLOCK, True))
    machine.settle(export.close())
    keys = [asked.key for asked in s3_server.faults.asked if asked.verb == s3_faults.PUT]
    assert all(key.startswith("vm1/") for key in keys), keys
    again = opened(machine, s3_server)
    assert again.info.size == 64 * MIB
    assert bytes(machine.settle(again.read(MIB, 4096))) == BLOCK
    machine.settle(again.close())


def test_a_store_is_tried_once(machine, s3_server):
    """A restart does not pay for the probe again."""
    machine.settle(opened(machine, s3_server).close())
    assert s3_server.faults.counts[s3_faults.PUT] > 60
    s3_server.faults.forget()
    export = opened(machine, s3_server)
    assert s3_server.faults.counts[s3_faults.PUT] < 10
    # of these the superblock is one
    assert s3_server.faults.counts.total() <= 10
    machine.settle(export.close())
    report = (machine.directory / "nbdgateway-state/probes.json").read_text()
    assert len(json.loads(report)) == 1
    assert SECRET_KEY not in report


def test_an_unsafe_store_is_refused_unless_allowed(machine, s3_server):
    """It says what would happen, and how to go on all the same."""
    s3_server.faults.fail(s3_faults.ignore_condition, s3_faults.PUT, times=None)
    text = refused(machine, s3_server)
    assert "is not safe for a volume" in text
    assert text.endswith("allow_unsafe = conditional-put, race")
    export = opened(machine, s3_server, allow_unsafe="conditional-put, race")
    machine.settle(export.close())


def test_a_store_that_failed_once_is_not_lucky_the_next_time(machine, s3_server):
    """Races are lost now and then: within a process one that was lost counts."""
    s3_server.faults.fail(s3_faults.ignore_condition, s3_faults.PUT, times=None)
    text = refused(machine, s3_server)
    s3_server.faults.heal()
    s3_server.faults.forget()
    assert refused(machine, s3_server) == text
    assert s3_server.faults.counts[s3_faults.PUT] == 0


def test_a_reader_neither_tries_the_store_nor_puts_anything(machine, s3_server):
    """Its credentials may be good for reading only."""
    export = opened(machine, s3_server)
    machine.settle(export.write(0, BLOCK, True))
    s3_server.faults.forget()
    reader = opened(machine, s3_server, read_only=True)
    assert bytes(machine.settle(reader.read(0, 4096))) == BLOCK
    machine.settle(reader.close())
    assert s3_server.faults.counts[s3_faults.PUT] == 0
    machine.settle(export.close())


def test_a_missing_bucket_is_said(machine, s3_server):
    """It is not made: whoever pays decides where buckets are."""
    text = refused(machine, s3_server, bucket="no-such-bucket")
    assert "s3://no-such-bucket" in text
    assert "NoSuchBucket" in text


@pytest.mark.parametrize(
    "code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken"]
)
def test_wrong_credentials_are_said(machine, s3_server, code):
    """In the store's words, and at once."""
    s3_server.faults.fail(s3_faults.refuse("403 Forbidden", code), times=None)
    text = refused(machine, s3_server)
    assert code in text
    assert ACCESS_KEY not in text


def test_missing_credentials_are_said(machine, s3_server, monkeypatch):
    """Nothing was asked."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "redentials" in refused(machine, s3_server)
    assert s3_server.faults.asked == []


def test_credentials_may_write_only_what_lies_under_the_prefix(machine, s3_server):
    """Least privilege: no other key is asked for, no bucket is listed as a whole."""
    machine.settle(opened(machine, s3_server).close())
    for asked in s3_server.faults.asked:
        if asked.key:
            assert asked.key.startswith("vm1/"), asked


def test_objects_of_others_are_not_built_upon(machine, s3_server):
    """The probe's leftovers aside."""
    s3_server.fill(["vm1/holiday.jpg", "vm1/probe/x/plain"])
    assert "such as vm1/holiday.jpg" in refused(machine, s3_server)
    s3_server.fill(["vm2/probe/x/plain"])
    machine.settle(opened(machine, s3_server, prefix="vm2").close())


def test_a_volume_may_have_an_odd_name(machine, s3_server):
    """Its objects' keys go through URLs and XML."""
    for prefix in ("Ä b+c%20&?#=", "a/<b>/'c'"):
        export = opened(machine, s3_server, prefix=prefix)
        machine.settle(export.write(0, BLOCK, True))
        machine.settle(export.close())
        again = opened(machine, s3_server, prefix=prefix, size="64M")
        assert bytes(machine.settle(again.read(0, 4096))) == BLOCK
        machine.settle(again.close())


def test_a_store_that_is_away_is_unavailable(machine, s3_server):
    """With how long it was tried; the next client makes the gateway try again."""
    text = refused(machine, s3_server, endpoint_url="http://127.0.0.1:1", connect_timeout="1")
    assert "tried once" in text


def test_two_names_of_one_volume_are_one(machine, s3_server):
    """Endpoints that differ in how they are written only."""

    def identity(**keys):
        return provider.identity(settings_for(machine, s3_server, **keys))

    assert identity(endpoint_url="https://s3.example") == identity(
        endpoint_url="https://S3.example:443/"
    )
    assert identity(prefix="vm1/") == identity()
    assert identity(prefix="vm2") != identity()
    assert identity(bucket="others") != identity()
    assert identity(endpoint_url="https://s3.example:444") != identity(
        endpoint_url="https://s3.example"
    )


def test_what_is_wrong_is_said_before_anything_is_asked(machine, s3_server):
    """Problems of bucket and volume together."""
    settings = settings_for(
        machine, s3_server, endpoint_url="http://s3.example", size="100", anonymous="yes"
    )
    found = [problem.split(":")[0] for problem in provider.problems(settings, False)]
    assert found == ["endpoint_url", "anonymous", "size"]
    assert [problem.split(":")[0] for problem in provider.problems(settings, True)] == [
        "endpoint_url",
        "size",
    ]
    assert s3_server.faults.asked == []


def test_it_is_described_without_secrets(machine, s3_server):
    """One line for the operator."""
    settings = settings_for(machine, s3_server, endpoint_url="https://s3.example")
    assert provider.describe(settings) == (
        f"volume s3://{s3_server.bucket}/vm1 at https://s3.example"
    )
    settings = settings_for(machine, s3_server, endpoint_url="https://me:secret@s3.example")
    assert "secret" not in provider.describe(settings)
    (problem,) = provider.problems(settings, False)
    assert "secret" not in problem
    assert "secret" not in str(
        provider.identity(settings_for(machine, s3_server, endpoint_url="https://a@b:secret"))
    )
