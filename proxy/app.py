"""The composition root: builds each part once, in order, and closes them in reverse."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from socket import gethostname

import uvloop

from pricing.money import nanos
from pricing.tokens import Counter
from proxy import clock, control, dialects, jobs, log
from proxy.about import About
from proxy.admin import HEALTHY, AdminState, own_page
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
from proxy.categorise import Categoriser
from proxy.config import LoadedConfig, load_prices, load_rules
from proxy.control import Control
from proxy.deferred import Deferrals
from proxy.deliver import deliver, routed
from proxy.drain import Drains
from proxy.edited import edited_files
from proxy.errors import StartupError
from proxy.estimators import Estimators
from proxy.gateway import Gateway
from proxy.holds.local import LocalHolds
from proxy.holds.seed import Seeds
from proxy.journal import Journal
from proxy.judge import Judge
from proxy.ledger import audit, keys
from proxy.ledger.ship import Shipper
from proxy.listeners import AdminListener, DataListener, renew
from proxy.live_prices import LivePrices
from proxy.lock import hold_folder
from proxy.opening import JOURNAL, adopt_journals, lessons_learned, names_counted, open_ledger, token_counter
from proxy.overrides import BudgetOverrides
from proxy.pacing import Pacers
from proxy.passage import Guards
from proxy.placing import Placing
from proxy.policy_swap import PolicySwap
from proxy.price_feed import PriceFeed
from proxy.pricer import Pricer
from proxy.raised import Raised
from proxy.relay import Relay
from proxy.relay import Upstream as AnyUpstream
from proxy.reload import InForce, Reloads
from proxy.repeats import Repeats
from proxy.rest import Rest
from proxy.sample import SampleProvider
from proxy.server import require_c_parser
from proxy.settings import SAMPLE, Config
from proxy.shutdown import Switch
from proxy.startup import startup_checks, with_keys
from proxy.till import Till
from proxy.tls import trusting
from proxy.upstream import Upstream
from proxy.velocity import Velocities
from proxy.watch import watch

COUNTING_THREADS_MAX = 4
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
        ledger = await open_ledger(loaded)
        stack.push_async_callback(ledger.close)
        await adopt_journals(loaded, ledger)
        journal = Journal(loaded.data_dir / JOURNAL, full=config.journal.durability == "full")
        stack.callback(journal.close)
        shipper = Shipper(ledger, journal)
        shipper.start()
        stack.push_async_callback(shipper.close)
        counter = await token_counter(loaded)
        estimators = Estimators(counter, config.estimators)
        await asyncio.to_thread(estimators.load)
        feed = PriceFeed(config.prices, loaded.data_dir, book) if config.prices.is_on else None
        holds, learned = LocalHolds(queue_max=config.hold_queue_max), await lessons_learned(ledger)

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
        categoriser = Categoriser(pool, await names_counted(ledger), config.categoriser)
        await asyncio.to_thread(categoriser.load)
        async with ledger.connect() as connection:
            rows = await keys.every(connection)
        keyring = Keyring(rows, timezone=policy.now.timezone, allow_test_keys=config.allow_test_keys)
        swap = PolicySwap(policy, holds, keyring, seeds, ledger)
        pricer = Pricer(config, book, counter, estimators, pool, learned)
        placing = Placing(config, holds, till, judge, pricer, seeds.of, seeds.beside, renew=swap.renew)
        admission = Admission(pricer, placing)
        data, admin_runner = DataListener(), AdminListener()
        switch = Switch(raised.add)
        guards = Guards(config.providers, raised.add)
        node, secret = gethostname(), audit.secret_of(loaded.data_dir)
        edited = edited_files(loaded, rests, swap, book)
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
            renewing = jobs.run(renew(data.certificate), name="certificate")
            stack.push_async_callback(jobs.stop, renewing)
        control.write(
            loaded.data_dir, Control(admin_url, data_url, state.control_token, os.getpid(), state.version)
        )
        stack.callback(control.remove, loaded.data_dir)
        log.get().info("listening", data_url=data_url, admin_url=admin_url, policy_version=policy.now.version)
        yield Running(data_url, admin_url)


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
