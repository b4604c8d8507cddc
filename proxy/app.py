"""The composition root: builds each part once, in order, and closes them in reverse."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from typing import Any

import uvloop
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from pricing.money import nanos
from pricing.overrides import Overrides
from pricing.tokens import Counter
from proxy import clock, control, dialects, jobs, log
from proxy.about import About
from proxy.admin import HEALTHY, AdminState, admin_application, own_page
from proxy.admin import breakers as admin_breakers
from proxy.admin import overrides as admin_overrides
from proxy.admin import upstreams as admin_upstreams
from proxy.admin.estimates import Desk
from proxy.admin.prices import priced_as
from proxy.admit import Admission
from proxy.asking import Asking
from proxy.auth import Keyring
from proxy.batches import Batches
from proxy.breakers import Breakers
from proxy.callrow import AS_OTHER
from proxy.categorise import Categoriser
from proxy.chosen import IDLE_DAYS, QUARTERS_A_DAY, Chosen, day_of
from proxy.config import LoadedConfig, load_price_overrides, load_prices, load_rules
from proxy.control import Control
from proxy.deferred import Deferrals
from proxy.deliver import deliver, routed
from proxy.drain import Drains
from proxy.errors import StartupError
from proxy.estimators import Estimators
from proxy.gateway import Gateway
from proxy.holds.local import LocalHolds
from proxy.holds.seed import Seeds
from proxy.journal import Journal
from proxy.judge import Judge
from proxy.learned import Learned
from proxy.ledger import FILE, Ledger, audit, estimates, keys, names, sqlite_url
from proxy.ledger.recover import recover
from proxy.ledger.ship import Shipper
from proxy.live_prices import LivePrices
from proxy.lock import hold_folder
from proxy.overrides import BudgetOverrides
from proxy.pacing import Pacers
from proxy.passage import Guards
from proxy.placing import Placing
from proxy.policy_swap import PolicySwap
from proxy.price_feed import PriceFeed
from proxy.pricer import Pricer
from proxy.raised import Raised
from proxy.ranks import load_ranks
from proxy.relay import Relay
from proxy.relay import Upstream as AnyUpstream
from proxy.reload import Edited, InForce, Reloads, Swapped
from proxy.repeats import Repeats
from proxy.rest import Rest
from proxy.sample import SampleProvider
from proxy.server import Server, cannot_listen, require_c_parser
from proxy.settings import SAMPLE, Config
from proxy.shutdown import Switch
from proxy.startup import startup_checks, with_keys
from proxy.till import Till
from proxy.tls import Certificate, CertificateError, trusting
from proxy.upstream import Upstream
from proxy.velocity import Velocities
from proxy.watch import watch
from rules.narrow import NAMES_COUNTED_MAX
from rules.policy import Policy

JOURNAL = "journal"
COUNTING_THREADS_MAX = 4
CERTIFICATE_LOOK_SECONDS = 2.0  # a change is loaded at the second look that finds it at rest
GC_THRESHOLD = (50_000, 20, 50)  # calls make many short-lived objects and hardly a cycle


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    data_url: str
    admin_url: str


def serve(loaded: LoadedConfig) -> None:
    """Until SIGTERM or SIGINT. Raises StartupError or DocumentError where it cannot start."""
    uvloop.run(_serve(loaded))


async def _serve(loaded: LoadedConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hangup = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    async with running(loaded, hangup=hangup):
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        await stop.wait()
        log.get().info("stopping", grace_seconds=loaded.config.shutdown_seconds)


@asynccontextmanager
async def running(loaded: LoadedConfig, *, hangup: asyncio.Event | None = None) -> AsyncIterator[Running]:
    """Everything, from the lock on the folder to the listeners; on leaving, the same in reverse. `hangup` is set for
    edited files to be read at once."""
    config = loaded.config
    log.configure(level=config.logging.level, format=config.logging.format)
    require_c_parser()
    problems = startup_checks(config)
    if problems:
        raise StartupError("\n".join(map(str, problems)))
    config = with_keys(config)
    loaded = replace(loaded, config=config)
    rests = {path: Rest(path) for path in (config.rules_file, config.prices_file) if path is not None}
    policy = InForce(load_rules(loaded))
    book = LivePrices(await asyncio.to_thread(load_prices, loaded))
    for warning in (*loaded.warnings, *policy.now.warnings, *book.present.overrides.warnings):
        log.get().warning("configuration_warning", detail=warning)
    async with AsyncExitStack() as stack:
        stack.enter_context(hold_folder(loaded.data_dir))
        ledger = await _open_ledger(loaded)
        stack.push_async_callback(ledger.close)
        await _recover(loaded, ledger)
        journal = Journal(loaded.data_dir / JOURNAL, full=config.journal.durability == "full")
        stack.callback(journal.close)
        shipper = Shipper(ledger, journal)
        shipper.start()
        stack.push_async_callback(shipper.close)
        counter = await _counter(loaded)
        estimators = Estimators(counter, config.estimators)
        await asyncio.to_thread(estimators.load)
        feed = PriceFeed(config.prices, loaded.data_dir, book) if config.prices.is_on else None
        holds, learned = LocalHolds(queue_max=config.hold_queue_max), await _learned(ledger)

        pool = ThreadPoolExecutor(min(COUNTING_THREADS_MAX, os.cpu_count() or 1), "count")
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        speaks = {name: dialects.find(provider.dialect) for name, provider in config.providers.items()}
        upstreams = {name: _upstream(name, config, counter, speaks[name]) for name in config.providers}
        for upstream in upstreams.values():
            if isinstance(upstream, Upstream):
                stack.push_async_callback(upstream.close)
        drains = Drains(
            count_max=config.on_disconnect.drain_max,
            seconds=config.on_disconnect.drain_seconds,
            nanos_max=nanos(config.on_disconnect.drain_usd),
        )
        raised = Raised(ledger)
        stack.push_async_callback(raised.flush)
        velocities = Velocities(ledger)
        pacers = Pacers(max_delay_seconds=config.max_delay_seconds, queue_max=config.hold_queue_max)
        breakers = Breakers(raised.add, closed=pacers.clear)
        judge = Judge(holds, breakers, velocities, Repeats(), pacers)
        till = Till(
            holds=holds,
            journal=journal,
            shipper=shipper,
            counter=counter,
            find_price=lambda provider, model, at: book.find_named(
                config.price_provider(provider), model, at
            ),
            learned=learned,
            soft_allowance=nanos(config.on_journal_failure.soft_allowance_usd),
            own_cost=config.own_cost_providers,
            policy=policy,
            ended=judge.ended,
        )
        seeds = Seeds(holds, ledger, shipper, policy)
        categoriser = Categoriser(pool, await _chosen(ledger), config.categoriser)
        await asyncio.to_thread(categoriser.load)
        async with ledger.connect() as connection:
            rows = await keys.every(connection)
        keyring = Keyring(rows, timezone=policy.now.timezone, allow_test_keys=config.allow_test_keys)
        swap = PolicySwap(policy, holds, keyring, seeds, ledger)
        pricer = Pricer(config, book, counter, estimators, pool, learned)
        placing = Placing(config, holds, till, judge, pricer, seeds.of, seeds.beside, renew=swap.renew)
        admission = Admission(pricer, placing)
        data, admin_runner = _Data(), _Admin()
        switch = Switch(raised.add)
        guards = Guards(config.providers, raised.add)
        node, secret = gethostname(), audit.secret_of(loaded.data_dir)
        edited = _edited(loaded, rests, swap, book)
        reloads = Reloads(edited, ledger=ledger, node=node, secret=secret, hangup=hangup or asyncio.Event())
        state = AdminState(
            ledger=ledger,
            keyring=keyring,
            shipper=shipper,
            policy=policy,
            desk=Desk(
                config,
                book,
                estimators,
                learned,
                policy,
                ledger,
                holds,
                shipper,
                overrides=lambda: swap.overrides,
            ),
            live_prices=book,
            price_provider=lambda name: priced_as(name, config),
            components=lambda: {
                "ledger": shipper.last_error or HEALTHY,
                "journal": journal.last_error or HEALTHY,
                "listener": HEALTHY if data.accepts else "stopping",
            },
            node=node,
            audit_secret=secret,
            control_token=control.new_token(),
            admin_host=config.admin.listen.host,
            version=version("spendgate"),
            started=clock.monotonic(),
            details=lambda: {
                **reloads.details(),
                **({} if feed is None else feed.details()),
                **switch.details(),
            },
            reloads=reloads,
            breakers=breakers,
            switch=switch,
            guards=guards,
            overrides=BudgetOverrides(swap),
        )
        await admin_breakers.start(state, clock.now())
        await admin_overrides.start(state, clock.now())
        await admin_upstreams.start(state, clock.now())
        deferrals = Deferrals(
            config=config,
            dialects=speaks,
            upstreams=upstreams,
            ledger=ledger,
            shipper=shipper,
            holds=holds,
            book=book,
            counter=counter,
            policy=policy,
        )
        gateway = Gateway(
            config=config,
            keyring=keyring,
            dialects=speaks,
            policy=policy,
            admission=admission,
            till=till,
            relay=Relay(config, upstreams, holds, till, drains, deferrals),
            own_page=lambda request: own_page(state, request),
            about=About(ledger, shipper),
            batches=Batches(config, book, counter, pool, learned, Asking(config, speaks, upstreams)),
            categoriser=categoriser,
            node=state.node,
            switch=switch,
            guards=guards,
        )
        beside = [
            jobs.run(deliver(ledger, routed(config.alerts)), name="deliver"),
            jobs.run(watch(holds, policy), name="watch"),
            jobs.run(deferrals.run(), name="deferred"),
            jobs.run(reloads.run(), name="reload"),
            jobs.run(raised.run(), name="raised"),
            jobs.run(velocities.run(), name="velocity"),
            jobs.run(admin_breakers.follow(state), name="breakers"),
            jobs.run(admin_overrides.follow(state), name="overrides"),
        ]
        if feed is not None:
            beside.append(jobs.run(feed.run(), name="prices"))
        for job in beside:
            stack.push_async_callback(jobs.stop, job)
        admin_url = await admin_runner.start(state, loaded)
        stack.push_async_callback(admin_runner.stop)
        stack.push_async_callback(drains.close)
        data_url = await data.start(gateway, loaded)
        stack.push_async_callback(data.stop, config.shutdown_seconds)
        if data.certificate is not None:
            renewing = jobs.run(_renew(data.certificate), name="certificate")
            stack.push_async_callback(jobs.stop, renewing)
        control.write(
            loaded.data_dir, Control(admin_url, data_url, state.control_token, os.getpid(), state.version)
        )
        stack.callback(control.remove, loaded.data_dir)
        log.get().info("listening", data_url=data_url, admin_url=admin_url, policy_version=policy.now.version)
        yield Running(data_url, admin_url)


class _Data:
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


class _Admin:
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


async def _open_ledger(loaded: LoadedConfig) -> Ledger:
    file = None if loaded.config.ledger.in_memory else loaded.data_dir / FILE
    if file is not None:
        file.touch(mode=0o600)
    return await Ledger.open(sqlite_url(file), full=loaded.config.journal.durability == "full")


async def _recover(loaded: LoadedConfig, ledger: Ledger) -> None:
    """Journals that an earlier process left: its lost calls become charges before anything is counted."""
    found = await recover(loaded.data_dir / JOURNAL, ledger)
    if found.records or found.findings:
        log.get().warning(
            "journal_recovered",
            records=found.records,
            shipped=found.shipped,
            lost=found.lost,
            findings=found.findings,
        )


async def _counter(loaded: LoadedConfig) -> Counter:
    cache_dir = loaded.environ.get("TIKTOKEN_CACHE_DIR")
    ranks = await asyncio.to_thread(load_ranks, Path(cache_dir) if cache_dir else None)
    if ranks.warning:
        log.get().warning("tokenizer_missing", detail=ranks.warning)
    return Counter(ranks.encodings)


def _edited(
    loaded: LoadedConfig, rests: Mapping[Path, Rest], swap: PolicySwap, book: LivePrices
) -> list[Edited[Any]]:
    """The files that are watched. A rules file that nobody has written yet is read once it is there."""
    named = replace(loaded, rules_file_is_named=True)

    def read_rules() -> tuple[str, Policy]:
        policy = load_rules(named)
        return policy.version, policy

    rules = rests[loaded.config.rules_file]
    now = clock.now()
    files: list[Edited[Any]] = [
        Edited("rules", rules, read_rules, swap.swap, swap.policy.now.version, now, swap.follow_up)
    ]
    path = loaded.config.prices_file
    if path is None:
        return files

    def read_prices() -> tuple[str, Overrides]:
        overrides = load_price_overrides(loaded, path, book.present.catalogue)
        return overrides.version, overrides

    def swap_prices(overrides: Overrides, at: datetime) -> Swapped:
        book.swap_overrides(overrides, at)
        for warning in overrides.warnings:
            log.get().warning("configuration_warning", detail=warning)
        return Swapped()

    version = book.present.overrides.version
    return [*files, Edited("prices", rests[path], read_prices, swap_prices, version, now)]


async def _chosen(ledger: Ledger) -> Chosen:
    """Names that have counters of their own keep them over a restart."""
    since = (day_of(clock.now()) - IDLE_DAYS) * QUARTERS_A_DAY
    try:
        async with ledger.connect() as connection:
            seen = await names.charged_since(connection, AS_OTHER, since, limit=NAMES_COUNTED_MAX)
    except SQLAlchemyError as error:
        log.get().error("names_not_read", error_code="DATABASE_ERROR", detail=str(error)[:300])
        seen = []
    return Chosen((scope, quarter // QUARTERS_A_DAY) for scope, quarter in seen)


async def _learned(ledger: Ledger) -> Learned:
    """From the newest calls of the ledger: a restart forgets nothing. Without them estimates start from defaults."""
    learned = Learned()
    try:
        async with ledger.connect() as connection:
            learned.take(await estimates.lessons(connection))
    except SQLAlchemyError as error:
        log.get().error("estimates_not_learned", error_code="DATABASE_ERROR", detail=str(error)[:300])
    return learned


def _upstream(name: str, config: Config, counter: Counter, dialect: dialects.Dialect) -> AnyUpstream:
    provider = config.providers[name]
    if name == SAMPLE:
        return SampleProvider(counter, dialect)
    own_trust = provider.ca_file is not None or not provider.tls_verify
    return Upstream(
        provider.base_url,
        connect_seconds=provider.timeouts.connect_seconds,
        connect_retries=provider.connect_retries,
        idle_seconds=provider.timeouts.idle_seconds,
        connections_max=provider.connections_max,
        ssl_context=trusting(provider.ca_file, verify=provider.tls_verify) if own_trust else None,
        proxy=provider.proxy,
    )


async def _renew(certificate: Certificate) -> None:
    """Never ends: a renewed certificate counts for new connections within seconds."""
    while True:
        await asyncio.sleep(CERTIFICATE_LOOK_SECONDS)
        try:
            if certificate.reload_if_changed():
                log.get().info("certificate_reloaded")
        except CertificateError as error:
            log.get().error("certificate_refused", detail=str(error))
