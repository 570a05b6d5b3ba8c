"""The three ways to send any file whatsoever, each telling what the server answered, in comparable form."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, _config

from launch import Server

Files = Mapping[str, Path]
Answers = dict[str, str]
_SENDING = re.compile(r"^I: Sending file: (.*)$", re.MULTILINE)
_REFUSED_BY_STORESCU = "No SOP Class or Instance UID in file"


def session(server: Server) -> requests.Session:
    """HTTP as an administrator."""
    made = requests.Session()
    made.auth = server.admin
    return made


def post_files(server: Server, files: Files) -> Answers:
    """POST /instances, one by one: status code and Orthanc's answer."""
    answers = {}
    with session(server) as http:
        for name, path in files.items():
            answer = http.post(f"{server.url}/instances", data=path.read_bytes(), timeout=60)
            answers[name] = _said(answer, server)
    return answers


def stow_files(server: Server, files: Files) -> Answers:
    """STOW-RS by dicomweb-client, which writes each file anew: status code and response of each."""
    answers = {}
    with session(server) as http:
        client = DICOMwebClient(f"{server.url}/dicom-web", session=http)
        for name, path in files.items():
            dataset = dcmread(path, force=True)
            # The client sends nothing whose transfer syntax it does not know.
            dataset.file_meta.setdefault("TransferSyntaxUID", ImplicitVRLittleEndian)
            try:
                response = client.store_instances([dataset])
            except requests.HTTPError as problem:
                answers[name] = _said(problem.response, server)
            else:
                answers[name] = f"200 {response.to_json()}".replace(server.url, "")
    return answers


def store_files(server: Server, files: Files) -> Answers:
    """C-STORE by DCMTK in one association, with a presentation context for each pair of class and syntax.

    What DCMTK does not send, because its Data Set does not say what it is, pynetdicom sends as it is.
    """
    names = {str(path): name for name, path in files.items()}
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as contexts:
        contexts.write(_presentation_contexts(files.values()))
        contexts.flush()
        command = ["storescu", "-v", "-nh", "-aec", "ORTHANC", "-xf", contexts.name, "ALL"]
        command += ["127.0.0.1", str(server.dicom_port), *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    pieces = _SENDING.split(done.stdout + done.stderr)
    answers = {names[path]: _answered(told) for path, told in zip(pieces[1::2], pieces[2::2], strict=True)}
    for name, path in files.items():
        if _REFUSED_BY_STORESCU in answers[name]:
            answers[name] = store_as_is(server, path)
    return answers


def store_as_is(server: Server, path: Path) -> str:
    """C-STORE the Data Set of one file without a look at it, as what its file meta information says."""
    meta = dcmread(path, force=True, stop_before_pixels=True).file_meta
    requester = AE()
    requester.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = requester.associate("127.0.0.1", server.dicom_port, ae_title="ORTHANC")
    assert association.is_established
    before, _config.STORE_SEND_CHUNKED_DATASET = _config.STORE_SEND_CHUNKED_DATASET, True
    try:
        status = association.send_c_store(path)
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = before
        association.release()
    return f"{status.Status:#06x}" if "Status" in status else "no response"


TRANSPORTS: dict[str, Callable[[Server, Files], Answers]] = {
    "POST": post_files,
    "STOW-RS": stow_files,
    "C-STORE": store_files,
}


def _said(answer: requests.Response, server: Server) -> str:
    """Status code and body; Orthanc's words for a person aside, which tell sizes."""
    text = answer.text.replace(server.url, "")
    if text.startswith("{"):
        told = json.loads(text)
        text = json.dumps({key: value for key, value in told.items() if key != "Details"}, sort_keys=True)
    return f"{answer.status_code} {text}"


def _answered(told: str) -> str:
    found = re.search(r"Received Store Response \((.*)\)|^[EF]: (.*?)(?:: /.*)?$", told, re.MULTILINE)
    assert found is not None, told
    return found.group(1) or found.group(2)


def _presentation_contexts(paths: Iterable[Path]) -> str:
    """A profile ALL for `storescu -xf` that proposes what `paths` are; see DCMTK's asconfig.txt."""
    pairs = sorted({_class_and_syntax(path) for path in paths})
    syntaxes = sorted({syntax for _, syntax in pairs})
    lines = ["[[TransferSyntaxes]]"]
    for number, syntax in enumerate(syntaxes, 1):
        lines += [f"[Syntax{number}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[All]"]
    for number, (sop_class, syntax) in enumerate(pairs, 1):
        proposed = f"{sop_class}\\Syntax{syntaxes.index(syntax) + 1}"
        lines.append(f"PresentationContext{number} = {proposed}")
    return "\n".join([*lines, "[[Profiles]]", "[ALL]", "PresentationContexts = All", ""])


def _class_and_syntax(path: Path) -> tuple[str, str]:
    dataset = dcmread(io.BytesIO(path.read_bytes()), force=True, specific_tags=["SOPClassUID"])
    meta = dataset.file_meta
    syntax = meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    return str(dataset.get("SOPClassUID") or meta.MediaStorageSOPClassUID), str(syntax)
