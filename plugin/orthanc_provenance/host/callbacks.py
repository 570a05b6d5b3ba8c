"""The callbacks that Orthanc calls, each guarded: nothing that goes wrong here costs an instance.

An exception in the received-instance callback makes Orthanc store the object silently and leak its bytes. So
each boundary has one broad `except`, which lets Orthanc go on as if we were not there. What was not
announced and written is not in the index, and so not in research, until `reconcile` has assessed it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..config import Route
from ..doors.lock import Lock
from ..doors.requester import Requesters
from ..errors import HeaderError
from ..index.pending import Pending
from ..index.reconcile import Reconciler
from ..index.record import Record
from ..index.rows import is_structured
from ..index.writer import Put, Writer
from ..intake import LARGE, Intake, Received
from ..model import Modifier, Verdict
from ..policy import Content, decide
from .bridge import Bridge, BridgeError
from .threads import HttpRequest, Requests, StackGuard, basic_user

log = logging.getLogger(__name__)


class Callbacks:
    """What the host calls while it runs. All methods are called on the host's threads."""

    def __init__(
        self,
        orthanc: Any,
        intake: Intake,
        pending: Pending,
        writer: Writer,
        reconciler: Reconciler,
        lock: Lock,
        requesters: Requesters,
        bridge: Bridge,
        routes: Iterable[Route],
        *,
        transcodes: bool = False,
    ) -> None:
        """`transcodes`: the host stores what arrives in another transfer syntax (`IngestTranscoding`)."""
        self._orthanc = orthanc
        self._intake = intake
        self._pending = pending
        self._writer = writer
        self._reconciler = reconciler
        self._lock = lock
        self._requesters = requesters
        self._bridge = bridge
        self._routes = tuple(routes)
        self._transcodes = transcodes
        self._requests = Requests()
        self._guard = StackGuard()

    def received(self, data: bytes, origin: int) -> tuple[int, bytes | None]:
        """Assess an instance before it is stored, and say which bytes to store.

        Called one at a time, under a lock that SDK calls of other threads need: it waits for no thread.
        """
        self._guard.widen()
        keep = self._orthanc.ReceivedInstanceAction.KEEP_AS_IS
        thread = threading.get_native_id()
        try:
            self._pending.begin(thread)
            received, closes = self._assess(data, origin)
            if not self._writer.failure:
                # While the index fails all of research is closed, and what was stored is found again by the
                # archive's change log: nothing has to be remembered here, for days perhaps.
                announced_by = thread if received.is_final else None
                self._pending.announce(received.record, thread=announced_by, closes_study=closes)
        except HeaderError as problem:
            log.warning("an instance arrives whose header cannot be read: %s", problem)
            return keep, None
        # The boundary that keeps the instance: see the docstring of the module.
        except BaseException:
            log.exception("an instance could not be assessed; it is stored as it came, out of research")
            return keep, None
        if received.stamped is None:
            return keep, None
        return self._orthanc.ReceivedInstanceAction.MODIFY, received.stamped

    def _assess(self, data: bytes, origin: int) -> tuple[Received, bool]:
        """What becomes of an arriving instance, and whether its study is closed until it is in the index."""
        if not self._may_modify(origin) or len(data) >= LARGE:
            return Received(self._intake.glance(data), None, is_final=False), True
        # A stamp binds the pixels as they are stored: where the host encodes them anew after this, what lies
        # in the archive is assessed, and stamped on the way out.
        received = self._intake.receive(data, write_stamp=not self._transcodes)
        return replace(received, is_final=not self._transcodes), self._closes_study(received.record)

    def stored(self, _dicom: Any, instance: str) -> None:
        """An instance was stored: what was announced on this thread is written, anything else looked up."""
        self._guard.widen()
        try:
            if self._writer.failure:
                self._writer.lost.set()
                return
            announced = self._pending.stored(instance, thread=threading.get_native_id())
            # Orthanc 1.12 also calls this where it kept what it had and stored nothing.
            tentative = not self._pending.replaces
            if announced is None or (tentative and not self._reconciler.knows_all):
                self._reconciler.want(instance)
            else:
                self._writer.submit(Put(announced.record, announced.number, tentative))
        # A boundary: the instance is stored, and stays pending, hence closed, until it has been looked up.
        except BaseException:
            log.exception("the instance %s was stored but not noted; it stays out of research", instance)

    def filtered(self, uri: str, **request: Any) -> bool:
        """Whether the host may serve an HTTP request; also notes whom the thread serves."""
        self._guard.widen()
        try:
            headers, address = request.get("headers", {}), request.get("ip", "")
            user = basic_user(headers)
            self._requests.note(HttpRequest(user=user, address=address))
            claim = self._requesters.claim(user, address, headers)
            reads = request.get("method") == self._orthanc.HttpMethod.GET
            return bool(self._lock.allows(claim, uri, reads=reads))
        # A boundary: what cannot be decided is refused.
        except BaseException:
            log.exception("an HTTP request could not be decided upon and is refused")
            return False

    def rest(self, *, authenticated: bool) -> Callable[..., None]:
        """The callback for the web app's paths; without `authenticated` every requester is nobody.

        Where an answer breaks off it returns as if all were well: the host closes the connection, and the
        client misses the last chunk. Were anything raised, the host would never free what the traceback leads
        to, such as the chunk under way.
        """

        def answer(output: Any, uri: str, **request: Any) -> None:
            self._guard.widen()
            noted = self._requests.current()
            user = basic_user(request.get("headers", {})) if authenticated else ""
            try:
                self._bridge.handle(output, uri, request, user, noted.address if noted else "")
            except BridgeError as problem:
                log.error("%s: %s", uri, problem)
            except self._orthanc.OrthancException as problem:
                log.info("%s: the client left before the end of the answer: %s", uri, problem)

        return answer

    def changed(self, change: int, level: int, resource: str) -> None:
        """An instance was deleted; other changes are no business of the index."""
        try:
            types = self._orthanc.ChangeType
            if change == types.DELETED and level == self._orthanc.ResourceType.INSTANCE:
                self._reconciler.deleted(resource)
        # A boundary: a missed deletion leaves a row whose object cannot be read, and nothing more.
        except BaseException:
            log.exception("the deletion of %s was not noted", resource)

    def assess_stored(self, data: bytes) -> Record | str:
        """The record of an object that lies in the archive, or the reason for which there is none."""
        try:
            return self._intake.receive(data, write_stamp=False).record
        except HeaderError as problem:
            return str(problem)
        # A boundary: one object that no rule can stand must not keep the others from being assessed.
        except Exception as problem:
            log.exception("a stored instance could not be assessed")
            return f"{type(problem).__name__} while assessing it"

    def _may_modify(self, origin: int) -> bool:
        """Whether the bytes may be replaced: not for what Orthanc itself makes from stored objects.

        A replaced object loses the metadata ModifiedFrom and AnonymizedFrom, by which routing scripts know
        their own results. Such objects come from Lua, or by REST on a thread that serves no HTTP request.
        """
        origins = self._orthanc.InstanceOrigin
        if origin == origins.LUA:
            return False
        return origin != origins.REST_API or self._requests.current() is not None

    def _closes_study(self, record: Record) -> bool:
        assessment = record.assessment
        content = Content(
            series="",
            origin=assessment.origin,
            labelled=assessment.labelled,
            structured=is_structured(assessment),
            identity_removed=assessment.privacy.identity_removed,
            flawed=bool(assessment.reason),
            conflict=Modifier.CONFLICT in assessment.modifiers,
        )
        decisions = (decide((content,), route)[""] for route in self._routes)
        return any(decision.verdict is not Verdict.RELEASE for decision in decisions)
