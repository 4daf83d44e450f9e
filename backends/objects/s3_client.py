"""From settings to a client of botocore: sessions, credentials, signatures, connections."""

from __future__ import annotations

import logging
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

from backends.objects.contract import Refused
from backends.objects.s3_checksums import content_md5
from backends.objects.s3_ids import note_ids
from backends.objects.s3_settings import S3Settings, problem_of_a_secret_file
from gateway import __version__

#: Connections beside those of reads and writes: none of them should be thrown away.
_SPARE = 2


def make_client(settings: S3Settings) -> Any:
    """
    A new client with credentials read anew; takes up to a second, asks no store.

    botocore is imported here, with its first use: a second that a start does not need.

    Returns:
        A ``botocore.client.S3`` with `Shortcuts`, which threads may share.

    Raises:
        Refused: the file of credentials is missing or open to others.
        Exception: of botocore; see `backends.objects.s3_failures`.
    """
    _hush()
    from botocore.config import Config

    from backends.objects.s3_shortcuts import Shortcuts

    session = _session(settings)
    config: dict[str, Any] = {
        # the store around us tries again, and counts it
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "connect_timeout": settings.connect_timeout,
        "read_timeout": settings.read_timeout,
        "max_pool_connections": settings.max_reads + settings.max_writes + _SPARE,
        "tcp_keepalive": True,
        # a tenth of the time that a request takes here; ours are of a few kinds, all of them tested
        "parameter_validation": False,
        # ours are in headers; botocore's would come as trailers that other stores do not know
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "user_agent_extra": _user_agent(settings),
        "s3": {"addressing_style": settings.addressing_style},
    }
    if not settings.sign_payload:
        config["s3"]["payload_signing_enabled"] = False
    if settings.anonymous:
        from botocore import UNSIGNED

        config["signature_version"] = UNSIGNED
    if settings.proxy is not None:
        config["proxies"] = {"http": settings.proxy, "https": settings.proxy}
    # only when asked for: the environment and the profile may ask as well
    if settings.dualstack:
        config["use_dualstack_endpoint"] = True
    if settings.fips:
        config["use_fips_endpoint"] = True
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
    client = session.create_client(
        "s3",
        endpoint_url=settings.endpoint_url,
        verify=_verify(settings),
        config=Config(**config),
    )
    client.meta.events.register("before-call.s3.DeleteObjects", _add_content_md5)
    client.meta.events.register("after-call.s3", note_ids)
    return Shortcuts(client)


def _session(settings: S3Settings) -> Any:
    """A session that finds the credentials to sign with."""
    session = _plain_session(settings)
    if settings.role_arn is None:
        return session
    source = session.get_credentials()
    if source is None:
        from botocore.exceptions import NoCredentialsError

        raise NoCredentialsError
    with_role = _plain_session(settings)
    providers = with_role.get_component("credential_provider").providers
    providers.insert(0, _role(settings, session, source))
    return with_role


def _plain_session(settings: S3Settings) -> Any:
    """A session with what the settings say about where credentials are."""
    from botocore.session import Session

    profile = settings.profile
    if settings.credentials_file is not None and profile is None:
        profile = "default"  # naming one keeps keys in the environment out
    session = Session(profile=profile)
    if settings.credentials_file is not None:
        problem = problem_of_a_secret_file(settings.credentials_file)
        if problem is not None:
            raise Refused(f"credentials_file: {problem}")
        session.set_config_variable("credentials_file", settings.credentials_file)
    if settings.region is not None:
        session.set_config_variable("region", settings.region)
    session.register_component(
        "data_loader", descriptions(session.get_config_variable("data_path"))
    )
    return session


@cache
def descriptions(path: str | None) -> Any:
    """
    What botocore knows of services, read once a process and not for each client.

    It is half of the time that a client takes, and megabytes. botocore only reads them.

    Args:
        path: where else to look for them, as ``AWS_DATA_PATH`` says it.
    """
    from botocore.loaders import create_loader

    return create_loader(path)


def _role(settings: S3Settings, session: Any, source: Any) -> Any:
    """A provider of credentials that takes on ``role_arn`` whenever the last ones run out."""
    from botocore.config import Config
    from botocore.credentials import (
        AssumeRoleCredentialFetcher,
        CredentialProvider,
        DeferredRefreshableCredentials,
    )

    extra = {"RoleSessionName": "nbdgateway"}
    if settings.role_external_id is not None:
        extra["ExternalId"] = settings.role_external_id

    config = Config(connect_timeout=settings.connect_timeout, read_timeout=settings.read_timeout)

    def create_client(service: str, **keys: Any) -> Any:
        return session.create_client(service, verify=_verify(settings), config=config, **keys)

    fetcher = AssumeRoleCredentialFetcher(create_client, source, settings.role_arn, extra)

    class Role(CredentialProvider):  # type: ignore[misc]
        METHOD = "assume-role"
        CANONICAL_NAME = "custom-settings"

        def load(self) -> Any:
            return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)

    return Role()


def _verify(settings: S3Settings) -> bool | str | None:
    """For botocore: no, which roots, or whatever the environment says."""
    if not settings.verify:
        return False
    return settings.ca_bundle


def _user_agent(settings: S3Settings) -> str:
    name = f"nbdgateway/{__version__}"
    return name if settings.user_agent is None else f"{name} {settings.user_agent}"


def _time(text: str) -> datetime:
    """
    A time in an answer, in either of S3's two forms: botocore tries all there are, at length.

    Raises:
        ValueError, RuntimeError: it is none.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        from botocore.utils import parse_timestamp

        found: datetime = parse_timestamp(text)
        return found


def _add_content_md5(params: dict[str, Any], **_: Any) -> None:
    """Many stores want this header of DeleteObjects; botocore no longer sends it."""
    params["headers"]["Content-MD5"] = content_md5(params["body"])


def _hush() -> None:
    """Keep botocore from logging requests in full: their headers hold session tokens."""
    logger = logging.getLogger("botocore")
    if logger.level < logging.INFO:
        logger.setLevel(logging.INFO)
