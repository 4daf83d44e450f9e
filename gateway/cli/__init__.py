"""The command ``nbdgateway``: a running gateway, from a shell."""
