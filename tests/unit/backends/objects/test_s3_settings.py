"""The settings of a bucket: what is taken, what is refused before anything is asked."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from backends.objects.s3_settings import S3Settings, is_loopback, problems, warnings
from gateway.settings import read


def problems_of(**keys: object) -> list[str]:
    return problems(S3Settings(bucket="disks", **keys))  # type: ignore[arg-type]


def read_texts(**texts: str) -> tuple[S3Settings | None, list[str]]:
    return read(S3Settings, {"bucket": "disks", **texts}, "/etc/gw", lambda key: key)


def test_a_bucket_is_all_that_is_needed():
    """Everything else has a default, and the defaults have no problem."""
    settings, mistakes = read_texts()
    assert mistakes == []
    assert settings is not None
    assert problems(settings) == warnings(settings) == []


def test_a_bucket_is_needed():
    assert read(S3Settings, {}, "/", lambda key: key)[1] == [
        "bucket: missing, expected a bucket's name, or the ARN of an access point"
    ]


def test_every_key_is_documented():
    """The manual is made from these sentences."""
    for field in attrs.fields(S3Settings):
        assert field.metadata["doc"].endswith("."), field.name
        assert field.metadata["convert"].__doc__, field.name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bucket", "x"),
        ("bucket", "a/b"),
        ("bucket", "logs--use1-az4--x-s3"),
        ("endpoint_url", "s3.example"),
        ("endpoint_url", "ftp://s3.example"),
        ("endpoint_url", "https://s3.example:0"),
        ("endpoint_url", "https://s3.example:port"),
        ("endpoint_url", "https://s3.example/?a=b"),
        ("proxy", "socks5://proxy"),
        ("addressing_style", "host"),
        ("checksum", "sha1"),
        ("sse", "kms"),
        ("max_reads", "0"),
        ("max_writes", "1001"),
        ("expected_bucket_owner", "12345"),
        ("connect_timeout", "0"),
        ("read_timeout", "never"),
        ("verify", "maybe"),
    ],
)
def test_a_value_that_cannot_be_is_refused(key, value):
    """By the converter, with what was expected."""
    settings, mistakes = read_texts(**{key: value})
    assert settings is None
    assert len(mistakes) == 1
    assert mistakes[0].startswith(f'{key}: got "{value}", expected ')


@pytest.mark.parametrize(
    ("key", "value", "converted"),
    [
        ("endpoint_url", "https://s3.example:9000/", "https://s3.example:9000"),
        ("ca_bundle", "ca.pem", "/etc/gw/ca.pem"),
        ("max_reads", "64", 64),
        ("read_timeout", "2.5", 2.5),
        ("bucket", "arn:aws:s3:eu-west-1:123456789012:accesspoint/disks", None),
    ],
)
def test_values_are_converted(key, value, converted):
    settings, mistakes = read_texts(**{key: value})
    assert mistakes == []
    assert getattr(settings, key) == (value if converted is None else converted)


@pytest.mark.parametrize("key", ["endpoint_url", "proxy"])
@pytest.mark.parametrize("value", ["https://user:swordfish@host", "user:swordfish@host"])
def test_a_password_in_a_url_is_refused_and_not_quoted(key, value):
    """Messages quote the file; so the file is no place for a password."""
    settings, mistakes = read_texts(**{key: value})
    assert mistakes == []
    assert settings is not None
    found = problems(settings)
    assert [problem.split(":")[0] for problem in found] == [key]
    assert "swordfish" not in str(found)


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("s3.localhost", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_only_this_machine_is_loopback(host, is_it):
    assert is_loopback(host) is is_it


def test_plain_http_is_for_this_machine_or_on_demand():
    assert problems_of(endpoint_url="http://[::1]:9000") == []
    assert problems_of(endpoint_url="http://s3.example", allow_http=True) == []
    assert problems_of(endpoint_url="http://s3.example") == [
        "endpoint_url: got http://s3.example, expected https (or allow_http = yes)"
    ]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_credentials_that_others_can_reach_are_refused(tmp_path: Path, mode: int):
    keys = tmp_path / "keys"
    keys.write_text("[default]\n")
    keys.chmod(mode)
    assert problems_of(credentials_file=str(keys)) == [
        (
            f"credentials_file: got {keys} with permissions {mode:04o},"
            " expected none for group and others: 0600"
        )
    ]
    keys.chmod(0o600)
    assert problems_of(credentials_file=str(keys)) == []


def test_files_that_are_not_there_are_found(tmp_path: Path):
    none = str(tmp_path / "none")
    assert problems_of(credentials_file=none, ca_bundle=none) == [
        f"credentials_file: got {none}: No such file or directory, expected a file",
        f"ca_bundle: got {none}, expected a file that is readable",
    ]
    assert problems_of(credentials_file=str(tmp_path)) == [
        f"credentials_file: got {tmp_path}, expected a regular file"
    ]


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"anonymous": True, "profile": "p"}, ["profile"]),
        ({"anonymous": True, "role_arn": "arn:aws:iam::1:role/r"}, ["role_arn"]),
        ({"role_external_id": "x"}, ["role_external_id"]),
        ({"sse_kms_key_id": "k", "sse": "AES256"}, ["sse_kms_key_id"]),
        ({"sse_kms_key_id": "k", "sse": "aws:kms:dsse"}, []),
        ({"storage_class": "GLACIER"}, ["storage_class"]),
        ({"storage_class": "DEEP_ARCHIVE"}, ["storage_class"]),
        ({"storage_class": "STANDARD_IA"}, []),
        ({"endpoint_url": "https://s3.example", "fips": True}, ["fips"]),
        ({"endpoint_url": "https://s3.example", "dualstack": True}, ["dualstack"]),
        ({"fips": True, "dualstack": True}, []),
    ],
)
def test_settings_that_do_not_go_together_are_found(keys, named):
    assert [problem.split(":")[0] for problem in problems_of(**keys)] == named


def test_a_bundle_that_is_not_used_is_found(tmp_path: Path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    found = problems_of(ca_bundle=str(bundle), verify=False)
    assert found == ["ca_bundle: got one with verify = no, expected verify = yes"]
    found = problems_of(ca_bundle=str(bundle), endpoint_url="http://localhost:1")
    assert found == ["ca_bundle: got one for http://localhost:1, expected an https endpoint"]


def test_what_works_at_a_price_is_warned_of():
    settings = S3Settings(bucket="disks", storage_class="ONEZONE_IA", verify=False)
    assert [text.split(":")[0] for text in warnings(settings)] == ["storage_class", "verify"]
