"""twistd's door: the options of ``twistd nbdgateway`` and the service they make."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from gateway import activation, announcement, embedded, log_target, systemd, validation
from gateway.config import EMBEDDED_DATA_DIR, Configuration
from gateway.errors import ConfigurationError
from gateway.nbd.uri import DEFAULT_PORT
from gateway.service import Gateway

#: Objects that may be made, beyond those that went by themselves, before the collector looks.
_YOUNG = 5000


class Options(usage.Options):
    """
    What ``twistd nbdgateway`` takes.

    After parsing, ``configuration`` is a checked `Configuration` and every
    path is absolute: a daemon changes its directory later.
    """

    synopsis = "[options]"
    longdesc = (
        "Serves disks over NBD. Without --config: a sparse disk and a volume under "
        "./nbdgateway-data, created on first start, on the loopback interface and a Unix socket, "
        "with a dashboard over HTTP."
    )
    optParameters = [
        ["config", "c", None, "Configuration file. SIGHUP makes a running gateway read it again."],
        ["data-dir", None, EMBEDDED_DATA_DIR, "Without --config: where disk and volume are."],
        ["port", None, str(DEFAULT_PORT), "Without --config: the TCP port on 127.0.0.1."],
        ["http-port", None, None, "Without --config: that of the dashboard; one above --port."],
    ]
    optFlags = [
        ["check", None, "Check the configuration, print what would be served, and exit."],
    ]
    compData = usage.Completions(
        optActions={"config": usage.CompleteFiles("*.ini"), "data-dir": usage.CompleteDirs()}
    )

    inherited: tuple[activation.Inherited, ...] = ()
    configuration: Configuration
    supervisor: systemd.NotifySocket
    reload: Callable[[], Configuration] | None = None

    def postOptions(self) -> None:
        """
        Raises:
            SystemExit: 0 after ``--check``, 1 if the configuration is wrong.
        """
        if not self["check"]:
            try:
                self.inherited = activation.take(activation.started_with(), os.getpid())
            except activation.ActivationError as error:
                _exit([str(error)])
        activated = bool(self.inherited)
        if self["config"] is None:
            self["data-dir"] = os.path.abspath(self["data-dir"])
            http_port = None if self["http-port"] is None else self._port("http-port")
            load = partial(embedded.configuration, self["data-dir"], self._port("port"), http_port)
        else:
            self["config"] = os.path.abspath(self["config"])
            load = partial(validation.load, self["config"])
            self.reload = partial(load, activated=activated)
        try:
            self.configuration = load(activated=activated)
        except ConfigurationError as error:
            _exit(error.problems)
        if self["check"]:
            sys.stdout.write("\n".join(self.configuration.lines()) + "\n")
            raise SystemExit(0)
        self.supervisor = systemd.way_of_this_process()

    def _port(self, option: str) -> int:
        text = self[option]
        if not (text.isascii() and text.isdigit() and int(text) < 65536):
            raise usage.UsageError(f'--{option}: got "{text}", expected a number below 65536')
        return int(text)


def makeService(options: Options) -> IService:
    """The service; opens nothing, as twistd may fork after this."""
    bring_log = partial(
        log_target.install, twistd=options.parent or {}, log_format=options.configuration.log_format
    )
    if options["config"] is not None:
        return Gateway(
            options.configuration,
            inherited=options.inherited,
            reload=options.reload,
            supervisor=options.supervisor,
            bring_log=bring_log,
            settle=spare_what_stays,
        )
    no_daemon = bool(options.parent and options.parent.get("nodaemon"))
    screen = announcement.screen(no_daemon and not options.inherited)
    return Gateway(
        options.configuration,
        inherited=options.inherited,
        prepare=partial(embedded.make_data_dir, options["data-dir"]),
        announce=lambda listeners: announcement.announce(listeners, screen),
        supervisor=options.supervisor,
        bring_log=bring_log,
        settle=spare_what_stays,
    )


def spare_what_stays() -> None:
    """
    Have the garbage collector leave out what is there now, and look at what is new less often.

    More than a hundred thousand objects come with the modules, and stay. To look at all of them
    takes 0.1 s in which no client is answered.
    """
    gc.unfreeze()  # a reload may have closed what was left out the last time
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


def _exit(problems: list[str]) -> Any:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    raise SystemExit(1)
