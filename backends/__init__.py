"""Storage: implementations of `gateway.interfaces.IExport` and the providers that open them."""
