"""Builds the plugin from its rooms and registers it with Orthanc."""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import Settings, read_settings
from ..doors.lock import Hole, Lock, find_holes, is_authenticated
from ..doors.requester import Requesters
from ..doors.services import Services
from ..doors.tokens import Tokens
from ..errors import ConfigurationError, IndexUnavailable, ProvenanceError
from ..evidence.catalogue import Catalogue, load_catalogue
from ..gate import Gate
from ..index.mirror import Mirror
from ..index.pending import Pending
from ..index.reconcile import Reconciler
from ..index.schema import open_engine
from ..index.writer import Writer
from ..intake import Intake
from ..stamp.block import CREATOR, DICTIONARY, GROUP
from ..stamp.foreign import ForeignKeys
from ..stamp.keys import describe, open_keys
from ..stamp.trust import TrustedKeys
from ..web.app import create_app
from .archive import OrthancArchive
from .bridge import Bridge
from .callbacks import Callbacks
from .codec import OrthancCodec
from .log import log_to
from .threads import Errands

log = logging.getLogger(__name__)

_OLDEST_ORTHANC = (1, 12, 7)
_DECODING_ORTHANC = (1, 13, 0)
_HTTP_THREADS, _HTTP_PORT = 50, 8042  # Orthanc's defaults
_STEP_SECONDS = 0.2
_callbacks: list[Callable[..., Any]] = []


def register(orthanc: Any) -> None:
    """Register every callback with the host; called once, while the host loads its plugins.

    Raises ConfigurationError where host or configuration cannot carry the plugin: the host then refuses to
    start, because an archive that silently runs without its gate is the worse failure.
    """
    log_to(orthanc)
    configuration = json.loads(orthanc.GetConfiguration())
    settings = read_settings(configuration, os.environ)
    if not settings.enable:
        log.warning('"Provenance.Enable" is false: nothing is assessed, stamped or gated')
        return
    _check_host(orthanc, configuration)
    Plugin(orthanc, configuration, settings).register()


def _check_host(orthanc: Any, configuration: Mapping[str, Any]) -> None:
    """Raises ConfigurationError on a host that is too old, or without threads in its Python plugin.

    The REST API answers nothing yet while plugins load, so the Python plugin is told by what it can do:
    streamed answers came with its version 5.0.
    """
    if not orthanc.CheckVersionAdvanced(*_OLDEST_ORTHANC):
        needed = ".".join(map(str, _OLDEST_ORTHANC))
        raise ConfigurationError(f"this Orthanc is too old: the provenance plugin needs {needed} or later")
    if not hasattr(orthanc.RestOutput, "StartStreamAnswer"):
        raise ConfigurationError("this Python plugin of Orthanc is too old: version 5.0 or later is needed")
    if configuration.get("Python", {}).get("AllowThreads") is not True:
        raise ConfigurationError(
            'set "Python": {"AllowThreads": true}: without it, a REST call during an upload hangs Orthanc'
        )


class Plugin:
    """The rooms, wired together, and the threads that run them."""

    def __init__(self, orthanc: Any, configuration: Mapping[str, Any], settings: Settings) -> None:
        self._orthanc = orthanc
        self._settings = settings
        self._holes = find_holes(configuration, settings)
        self._authenticated = is_authenticated(configuration)
        self._catalogue = _load(settings)
        folder = (
            configuration.get("IndexDirectory") or configuration.get("StorageDirectory") or "OrthancStorage"
        )
        engine = open_engine(settings.database_url, Path(folder))
        self._keys = open_keys(settings.signing_key, Path(folder))
        self._trusted = TrustedKeys(self._keys.public if self._keys else ())
        self._foreign = ForeignKeys(settings.trusted_keys, self._trusted)
        self._foreign.read_files()
        archive = OrthancArchive(orthanc, checks_revisions=configuration.get("CheckRevisions", False) is True)
        signer = self._keys.signer if self._keys else None
        intake = Intake(self._catalogue, settings.stamp, signer, self._trusted)
        # A word since 1.13 ("Never", "Always", "IfChanged"), true or false before.
        overwrites = configuration.get("OverwriteInstances", False)
        self._pending = Pending(replaces=overwrites not in (False, "Never"))
        self._writer = Writer(engine, settings.routes, self._written, self._doubted)
        self._mirror = Mirror(engine, self._writer, archive)
        self._reconciler = Reconciler(engine, self._writer, self._pending, archive, self._assess_stored)
        gate = Gate(engine, self._pending, self._closed_because)
        services = Services(
            settings=settings,
            gate=gate,
            read=archive.read,
            stamp=intake.stamp_on_exit,
            restamp=intake.restamp,
            codec=OrthancCodec(orthanc, configuration),
            catalogue=self._catalogue.revision,
            sign=signer.sign_statement if signer else None,
        )
        app = create_app(services, engine, self._status, describe(self._keys), self._catalogue)
        self._bridge = Bridge(
            app,
            port=int(configuration.get("HttpPort", _HTTP_PORT)),
            threads=int(configuration.get("HttpThreadsCount", _HTTP_THREADS)),
            decodes=bool(orthanc.CheckVersionAdvanced(*_DECODING_ORTHANC)),
            scheme="https" if configuration.get("SslEnabled") is True else "http",
        )
        self._errands = Errands()
        self._callbacks = Callbacks(
            orthanc,
            intake,
            self._pending,
            self._writer,
            self._reconciler,
            Lock(settings),
            Requesters(settings.trusted_proxies, self._errands.sending(Tokens(engine).find)),
            self._bridge,
            settings.routes,
            transcodes=bool(configuration.get("IngestTranscoding")),
        )
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(step,), name=f"provenance-{name}", daemon=True)
            for name, step in (
                ("reconcile", self._reconciler.step),
                ("mirror", self._mirror.step),
                ("keys", self._foreign.step),
            )
        ]

    def register(self) -> None:
        """Hand the callbacks to the host."""
        orthanc, callbacks = self._orthanc, self._callbacks
        for element in DICTIONARY:
            vr = getattr(orthanc.ValueRepresentation, element.vr.decode(), orthanc.ValueRepresentation.UN)
            tag = 0x1000 | element.number
            orthanc.RegisterPrivateDictionaryTag(GROUP, tag, vr, element.keyword, 1, 0, CREATOR)
        orthanc.RegisterIncomingHttpRequestFilter(_kept(callbacks.filtered))
        orthanc.RegisterReceivedInstanceCallback(_kept(callbacks.received))
        orthanc.RegisterOnStoredInstanceCallback(_kept(callbacks.stored))
        orthanc.RegisterOnChangeCallback(_kept(self._changed))
        answer = _kept(callbacks.rest(authenticated=self._authenticated))
        for root in (*(route.dicom_web_root for route in self._settings.routes), "/provenance"):
            orthanc.RegisterRestCallback(f"{root}(/.*)?", answer)
        for hole in self._holes:
            log.error("research stays closed, because of %s: %s", hole.name, hole.advice)
        log.info("version %s, catalogue %s", __version__, self._catalogue.revision)

    def _changed(self, change: int, level: int, resource: str) -> None:
        types = self._orthanc.ChangeType
        try:
            if change == types.ORTHANC_STARTED:
                self._start()
            elif change == types.ORTHANC_STOPPED:
                self._stop()
            else:
                self._callbacks.changed(change, level, resource)
        # A boundary: what did not start keeps research closed.
        except BaseException:
            log.exception("the plugin could not start or stop as it should; see above")

    def _start(self) -> None:
        # What is loaded by now stays: without this the collector looks through all of it, for tens of
        # milliseconds, in the middle of an answer that lists thousands of instances.
        gc.freeze()
        self._writer.start()
        self._bridge.start()
        for thread in self._threads:
            thread.start()

    def _stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=10)
        self._bridge.stop()
        self._errands.stop()
        self._writer.stop()

    def _repeat(self, step: Callable[[], None]) -> None:
        """Call `step` until the host stops; a problem is logged once, and tried again."""
        last = ""
        while True:
            try:
                step()
                last = ""
            except ProvenanceError as problem:
                # Why the index fails the writer has told.
                told = isinstance(problem, IndexUnavailable) and self._writer.failure
                if not told and str(problem) != last:
                    log.error("%s", problem)
                last = str(problem)
            # The boundary of a thread: what is not assessed and settled meanwhile stays closed.
            except Exception as problem:
                if repr(problem) != last:
                    log.exception("a background step failed and is tried again")
                last = repr(problem)
            if self._stopping.wait(_STEP_SECONDS):
                return

    def _written(self, instances: list[tuple[str, int]], studies: set[str]) -> None:
        self._pending.written(instances)
        self._mirror.touched(studies)

    def _doubted(self, instance: str) -> None:
        self._reconciler.want(instance)

    def _assess_stored(self, data: bytes) -> Any:
        return self._callbacks.assess_stored(data)

    def _closed_because(self) -> str:
        if self._holes:
            return f"the configuration leaves a way around the gate: {', '.join(_names(self._holes))}"
        return self._writer.failure or self._reconciler.closed_because

    def _status(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "catalogue": self._catalogue.revision,
            "catalogue_problems": [str(problem) for problem in self._catalogue.problems],
            "trusted_keys": self._trusted.foreign,
            "key_problems": self._key_problems(),
            "research_closed_because": self._closed_because(),
            "pending_instances": len(self._pending.instances()),
            "studies_to_mirror": None if self._writer.failure else self._mirror.waiting(),
        }

    def _key_problems(self) -> list[str]:
        unsigned = [] if self._keys else ["there is no signing key, see Orthanc's log: stamps are not signed"]
        return unsigned + self._foreign.problems


def _kept(callback: Callable[..., Any]) -> Callable[..., Any]:
    """The callback, kept alive: the host lets go of it without holding the interpreter, and must not be last.

    Otherwise the object is destroyed there, and Orthanc ends with a segmentation fault instead of cleanly.
    """
    _callbacks.append(callback)
    return callback


def _load(settings: Settings) -> Catalogue:
    directory = Path(settings.markers_directory) if settings.markers_directory else None
    catalogue = load_catalogue(directory)
    for problem in catalogue.problems:
        log.error("%s", problem)
    return catalogue


def _names(holes: list[Hole]) -> list[str]:
    return [hole.name for hole in holes]
