"""A workstation that speaks DICOM to an Orthanc, and the archive to which it has images sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, StoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

WORKSTATION, SINK = "WORKSTATION", "SINK"
_TIMEOUT = 30


@dataclass
class Received:
    """An object that came by C-STORE: its dataset, and the bytes by which it was sent."""

    dataset: Dataset
    encoded: bytes


@dataclass
class Sink:
    """An AE that takes uncompressed images only, and keeps them until they are taken out."""

    port: int = 0
    received: list[Received] = field(default_factory=list)

    def take(self) -> list[Dataset]:
        """What has come, in the order of SOP Instance UIDs; the sink is empty again."""
        taken, self.received[:] = list(self.received), []
        return sorted((one.dataset for one in taken), key=lambda dataset: str(dataset.SOPInstanceUID))

    def keep(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.received.append(Received(dataset, event.request.DataSet.getvalue()))
        return 0x0000


@contextmanager
def running_sink() -> Iterator[Sink]:
    """A sink on a free loopback port."""
    sink, ae = Sink(), AE(ae_title=SINK)
    for context in StoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, sink.keep)])
    sink.port = server.socket.getsockname()[1]
    try:
        yield sink
    finally:
        server.shutdown()


@contextmanager
def association(port: int, *contexts: Any, title: str = WORKSTATION, **options: Any) -> Iterator[Any]:
    """An association of the workstation with the AE on a local port."""
    ae = AE(ae_title=title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _TIMEOUT
    for context in contexts:
        ae.add_requested_context(*context) if isinstance(context, tuple) else ae.add_requested_context(
            context
        )
    made = ae.associate("127.0.0.1", port, ae_title="ORTHANC", **options)
    assert made.is_established, "no association"
    try:
        yield made
    finally:
        made.release()


def echo(port: int) -> int:
    with association(port, Verification) as made:
        return int(made.send_c_echo().Status)


def send(port: int, datasets: Iterable[Dataset]) -> list[int]:
    """The statuses of a C-STORE of each dataset."""
    datasets = list(datasets)
    contexts = {(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID) for dataset in datasets}
    with association(port, *contexts) as made:
        return [int(made.send_c_store(dataset).Status) for dataset in datasets]


def find(port: int, query: Dataset, model: str = StudyRootQueryRetrieveInformationModelFind) -> list[Any]:
    """Status and identifier of each response of a C-FIND; the pending ones sorted."""
    with association(port, model) as made:
        answers = [
            (int(status.Status), answer.to_json_dict() if answer else None)
            for status, answer in made.send_c_find(query, model)
        ]
    return sorted(answers[:-1], key=str) + answers[-1:]


def move(port: int, query: Dataset, destination: str = SINK) -> dict[str, int]:
    """The numbers in the last response of a C-MOVE."""
    model = StudyRootQueryRetrieveInformationModelMove
    with association(port, model) as made:
        return _final(made.send_c_move(query, destination, model))


def get(port: int, query: Dataset, sop_class: str, syntax: str) -> tuple[dict[str, int], list[Received]]:
    """The numbers in the last response of a C-GET, and what came."""
    model, sink = StudyRootQueryRetrieveInformationModelGet, Sink()
    options = {
        "ext_neg": [build_role(sop_class, scp_role=True)],
        "evt_handlers": [(evt.EVT_C_STORE, sink.keep)],
    }
    with association(port, model, (sop_class, syntax), **options) as made:
        numbers = _final(made.send_c_get(query, model))
    return numbers, sorted(sink.received, key=lambda one: str(one.dataset.SOPInstanceUID))


def _final(responses: Iterable[tuple[Dataset, Dataset | None]]) -> dict[str, int]:
    last = [status for status, _ in responses][-1]
    numbers = ("Completed", "Failed", "Warning")
    counts = {name: int(last.get(f"NumberOf{name}Suboperations", 0)) for name in numbers}
    return {"Status": int(last.Status), **counts}


def query(level: str, **keys: str) -> Dataset:
    """An identifier for C-FIND, C-MOVE and C-GET; an empty key is asked for."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset
