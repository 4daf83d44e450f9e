"""The settings of a bucket: the keys that a section of the configuration may have for it."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from urllib.parse import SplitResult, urlsplit

import attrs

from gateway.settings import BadValue, boolean, choice, path, seconds, setting, text

#: How the bytes of a put are protected on their way, beside TLS.
CHECKSUMS = ("crc32c", "crc32", "md5", "none")

#: Storage classes whose objects must be restored before they can be read.
_ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]|arn:[A-Za-z0-9:/_.-]+")


def bucket_name(value: str) -> str:
    """A bucket's name, or the ARN of an access point."""
    if not _BUCKET.fullmatch(value):
        raise BadValue("a bucket's name of 3 or more of a-z 0-9 . - _, or an access point's ARN")
    if value.endswith("--x-s3"):
        raise BadValue("a general purpose bucket; directory buckets do not list keys in order")
    return value


def web_address(value: str) -> str:
    """A URL such as https://s3.example:9000, without user or password."""
    if "@" in value:
        return value  # may hold a password: `problems` refuses it without quoting it
    try:
        url = urlsplit(value)
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        good = False
    if not good or url.query or url.fragment:
        raise BadValue("a URL such as https://s3.example:9000, without user, password or query")
    return value.rstrip("/")


def count(value: str) -> int:
    """A whole number from 1 to 1000."""
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= 1000:
        raise BadValue("a whole number from 1 to 1000")
    return int(value)


def account(value: str) -> str:
    """An AWS account: twelve digits."""
    if not re.fullmatch(r"[0-9]{12}", value):
        raise BadValue("an AWS account: twelve digits")
    return value


def patience(value: str) -> float:
    """A duration of more than zero seconds."""
    duration = seconds(value)
    if duration == 0:
        raise BadValue("a number of seconds, more than zero")
    return duration


@attrs.frozen
class S3Settings:
    """
    Where a bucket is, who asks, and how it is asked.

    No key holds a secret: credentials come from ``credentials_file`` or from
    where every AWS client looks for them.
    """

    bucket: str = setting(
        bucket_name,
        "The bucket. It must exist, must not be a directory bucket, and should not be versioned:"
        " in a versioned bucket nothing that is deleted gives its space back.",
    )
    endpoint_url: str | None = setting(
        web_address,
        "Where the store answers, for stores other than AWS. The default is AWS, or what"
        " `AWS_ENDPOINT_URL_S3` or the profile say.",
        default=None,
    )
    region: str | None = setting(
        text,
        "The region that requests are signed for. The default is what `AWS_DEFAULT_REGION` or the"
        " profile say.",
        default=None,
    )
    profile: str | None = setting(
        text,
        "The profile in `credentials_file`, or in the usual AWS files: keys, a role, SSO,"
        " `credential_process` or a web identity. Keys in the environment are then not looked at.",
        default=None,
    )
    credentials_file: str | None = setting(
        path,
        "Keys in the form of `~/.aws/credentials`, readable by nobody but the gateway. Without"
        " `profile`, the profile `default` is taken. It is read again when the store says that"
        " credentials have expired or are not known. The default is where every AWS client looks:"
        " the environment, the usual files, then the machine's or container's own role.",
        default=None,
    )
    role_arn: str | None = setting(
        text,
        "A role to take on with the credentials found, and again before it expires. STS is asked"
        " at AWS, or where `AWS_ENDPOINT_URL_STS` says.",
        default=None,
    )
    role_external_id: str | None = setting(
        text, "The external id that the role's owner asks for.", default=None
    )
    anonymous: bool = setting(
        boolean, "Do not sign requests: a public bucket, to be read.", default=False
    )
    addressing_style: str = setting(
        choice("auto", "path", "virtual"),
        "Whether the bucket's name stands in the path or in the host's name. `auto` is `virtual`"
        " for AWS, where the name allows it, and `path` elsewhere.",
        default="auto",
    )
    allow_http: bool = setting(
        boolean,
        "Speak plain HTTP with an endpoint beyond this machine: everyone on the way can read and"
        " change what is not encrypted by the volume itself.",
        default=False,
    )
    ca_bundle: str | None = setting(
        path,
        "Certificates in PEM that the store's certificate is checked against, instead of the"
        " usual roots.",
        default=None,
    )
    verify: bool = setting(
        boolean,
        "Check the store's certificate. Without it anyone on the way can pose as the store.",
        default=True,
    )
    proxy: str | None = setting(
        web_address,
        "An HTTP proxy. The default is what `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.",
        default=None,
    )
    dualstack: bool = setting(
        boolean, "Use the AWS endpoints that also answer over IPv6.", default=False
    )
    fips: bool = setting(
        boolean, "Use the AWS endpoints with validated cryptography.", default=False
    )
    sign_payload: bool = setting(
        boolean,
        "Let the signature cover the bytes of a put. Over HTTPS `no` saves the hashing; then"
        " `checksum` should not be `none`.",
        default=True,
    )
    checksum: str = setting(
        choice(*CHECKSUMS),
        "What every put carries in a header for the store to check what arrived. Stores that do"
        " not know `crc32c` or `crc32` ignore them or refuse the put; `md5` is known to all.",
        default="crc32c",
    )
    requester_pays: bool = setting(
        boolean, "Agree to be charged for a bucket whose owner does not pay.", default=False
    )
    expected_bucket_owner: str | None = setting(
        account, "Refuse the bucket if it belongs to another AWS account.", default=None
    )
    storage_class: str | None = setting(
        text,
        "The storage class of new objects, as the store calls it. Archives that have to be"
        " restored before they can be read are refused; classes with a minimum age or a price"
        " for reading are paid for dearly by a disk. The default is the store's.",
        default=None,
    )
    sse: str = setting(
        choice("none", "AES256", "aws:kms", "aws:kms:dsse"),
        "The encryption at rest that every put asks for; `none` leaves it to the bucket.",
        default="none",
    )
    sse_kms_key_id: str | None = setting(
        text, "The KMS key for `sse = aws:kms` or `aws:kms:dsse`.", default=None
    )
    max_reads: int = setting(
        count, "How many reads and listings may be under way at the store at once.", default=32
    )
    max_writes: int = setting(
        count,
        "How many puts and deletes may be under way at once. They have connections of their own:"
        " a store that is slow to write does not keep readers waiting.",
        default=16,
    )
    connect_timeout: float = setting(
        patience,
        "How long connecting may take, and the store taking 16 KiB of a put.",
        default=10.0,
    )
    read_timeout: float = setting(
        patience, "How long the store may be silent while an answer is awaited.", default=30.0
    )
    retry_deadline: float = setting(
        seconds,
        "How long a request is tried again while the store cannot be reached, throttles or fails.",
        default=120.0,
    )
    user_agent: str | None = setting(
        text, "Added to what requests say about who sends them.", default=None
    )


def problems(settings: S3Settings) -> list[str]:
    """What can be found wrong without asking the store, one text each."""
    return [
        *_problems_of_addresses(settings),
        *_problems_of_files(settings),
        *_problems_of_pairs(settings),
    ]


def warnings(settings: S3Settings) -> list[str]:
    """What works, and may still not be what the operator wants, one text each."""
    found = []
    kind = settings.storage_class or ""
    if kind.endswith("_IA") or kind == "GLACIER_IR":
        found.append(
            f"storage_class: {kind} bills every read, and objects for 30 days or more however"
            " soon they are deleted; a disk's objects are read often and deleted soon"
        )
    if not settings.verify:
        found.append("verify: the store's certificate is not checked; anyone may pose as the store")
    return found


def problem_of_a_secret_file(name: str) -> str | None:
    """Why the file ``name`` is no place for credentials; None if it is one."""
    try:
        status = os.stat(name)
    except OSError as error:
        return f"got {name}: {error.strerror}, expected a file"
    if not stat.S_ISREG(status.st_mode):
        return f"got {name}, expected a regular file"
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(status.st_mode)
        return f"got {name} with permissions {mode:04o}, expected none for group and others: 0600"
    if not os.access(name, os.R_OK):
        return f"got {name}, expected a file that is readable"
    return None


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine by its very name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _problems_of_addresses(settings: S3Settings) -> list[str]:
    found = []
    for key, value in (("endpoint_url", settings.endpoint_url), ("proxy", settings.proxy)):
        if value is not None and "@" in value:
            found.append(f"{key}: got a user or a password in a URL, expected a URL without")
    if found or settings.endpoint_url is None:
        return found
    url: SplitResult = urlsplit(settings.endpoint_url)
    if url.scheme == "http" and not settings.allow_http and not is_loopback(url.hostname or ""):
        found.append(
            f"endpoint_url: got {settings.endpoint_url}, expected https (or allow_http = yes)"
        )
    if url.scheme == "http" and settings.ca_bundle is not None:
        found.append(f"ca_bundle: got one for {settings.endpoint_url}, expected an https endpoint")
    for key, wanted in (("dualstack", settings.dualstack), ("fips", settings.fips)):
        if wanted:
            found.append(f"{key}: got yes, expected no: endpoint_url already names the endpoint")
    return found


def _problems_of_files(settings: S3Settings) -> list[str]:
    found = []
    if settings.credentials_file is not None:
        problem = problem_of_a_secret_file(settings.credentials_file)
        if problem is not None:
            found.append(f"credentials_file: {problem}")
    bundle = settings.ca_bundle
    if bundle is not None and not (os.path.isfile(bundle) and os.access(bundle, os.R_OK)):
        found.append(f"ca_bundle: got {bundle}, expected a file that is readable")
    return found


def _problems_of_pairs(settings: S3Settings) -> list[str]:
    found = []
    if settings.ca_bundle is not None and not settings.verify:
        found.append("ca_bundle: got one with verify = no, expected verify = yes")
    if settings.anonymous:
        found += [
            f"{key}: got one with anonymous = yes, expected none"
            for key in ("profile", "credentials_file", "role_arn")
            if getattr(settings, key) is not None
        ]
    if settings.role_external_id is not None and settings.role_arn is None:
        found.append("role_external_id: got one without role_arn, expected both")
    if settings.sse_kms_key_id is not None and not settings.sse.startswith("aws:kms"):
        found.append(
            f"sse_kms_key_id: got one with sse = {settings.sse}, expected aws:kms or aws:kms:dsse"
        )
    if settings.storage_class in _ARCHIVES:
        found.append(
            f"storage_class: got {settings.storage_class}, expected one whose objects can be read"
            " without restoring them first"
        )
    return found
