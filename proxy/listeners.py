"""The two listeners: the callers', with or without TLS, and the admin API's."""

import asyncio

from aiohttp import web

from proxy import control, log
from proxy.admin import AdminState, admin_application
from proxy.config import LoadedConfig
from proxy.gateway import Gateway
from proxy.server import Server, cannot_listen
from proxy.tls import Certificate, CertificateError

CERTIFICATE_LOOK_SECONDS = 2.0  # a change is loaded at the second look that finds it at rest


class DataListener:
    """The callers' listener."""

    def __init__(self) -> None:
        self.accepts = False
        self.certificate: Certificate | None = None
        self._server: Server | None = None

    async def start(self, gateway: Gateway, loaded: LoadedConfig) -> str:
        tls, listen = loaded.config.tls, loaded.config.listen
        if tls is not None:
            self.certificate = Certificate(tls.cert_file, tls.key_file)
        context = None if self.certificate is None else self.certificate.context
        self._server = Server(gateway.handle, ssl_context=context)
        host, port = await self._server.start(listen.host, listen.port)
        self.accepts = True
        return control.reachable_url(host, port, scheme="http" if context is None else "https")

    async def stop(self, grace_seconds: float) -> None:
        self.accepts = False
        if self._server is not None:
            await self._server.stop(grace_seconds)


class AdminListener:
    """The listener of the admin API, health pages and metrics."""

    def __init__(self) -> None:
        self._runner: web.AppRunner | None = None

    async def start(self, state: AdminState, loaded: LoadedConfig) -> str:
        listen = loaded.config.admin.listen
        self._runner = web.AppRunner(admin_application(state), handle_signals=False, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, listen.host, listen.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise cannot_listen(listen.host, listen.port, error) from error
        host, port = self._runner.addresses[0][:2]
        return control.reachable_url(host, port)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


async def renew(certificate: Certificate) -> None:
    """Never ends: a renewed certificate counts for new connections within seconds."""
    while True:
        await asyncio.sleep(CERTIFICATE_LOOK_SECONDS)
        try:
            if certificate.reload_if_changed():
                log.get().info("certificate_reloaded")
        except CertificateError as error:
            log.get().error("certificate_refused", detail=str(error))
