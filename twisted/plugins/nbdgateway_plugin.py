"""Makes ``twistd nbdgateway`` appear."""

from twisted.application.service import ServiceMaker

nbdgateway = ServiceMaker("nbdgateway", "gateway.tap", "Serve disks over NBD.", "nbdgateway")
