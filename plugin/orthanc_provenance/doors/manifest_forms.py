"""The forms of a manifest: a Croissant data set, a table, and the statement that binds the two.

The vocabulary is that of https://docs.mlcommons.org/croissant/docs/croissant-spec.html (1.0), with its
extension for responsible AI, and `provenance`, which is ours, with words as `manifest.jsonld` shows them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..index.totals import MAX_GENERATORS, Counts, Generator, Totals
from ..model import State

PREDICATE_TYPE = "urn:orthanc-provenance:manifest:v1"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
JSON_LD_NAME, CSV_NAME = "manifest.jsonld", "manifest.csv"
COLUMNS = ("kind", "name", "value", "declaration", "studies", "series", "instances")

_NO_DECLARATION = "none: this gateway holds no declaration of it"
_TERMS = "urn:orthanc-provenance:manifest:v1#"
# The context of the specification, https://docs.mlcommons.org/croissant/docs/croissant-spec.html, appendix 1.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "provenance": {"@id": f"{_TERMS}provenance", "@type": "@json"},
}
_SAYS = {
    State.AI_DERIVED: "hold images that an AI product made from real acquisitions or changed (ai-derived)",
    State.AI_GENERATED: "hold images of a generative model, with no acquisition under them (ai-generated)",
    State.SIMULATED: "hold images of a simulation, with no acquisition under them (simulated)",
    State.UNDETERMINED: "hold images of which the origin could not be determined (undetermined)",
    State.PRIVACY_PROTECTED: "hold real acquisitions that say that they were privacy-protected",
}


def croissant(about: Mapping[str, str], query: Mapping[str, str], totals: Totals) -> dict[str, Any]:
    """The manifest as a Croissant data set; `about` and `query` hold what they say by name."""
    route, purpose = about["route"], about["purpose"]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": f"dicom-{route}",
        "description": (
            f"What the research route {route!r} of a DICOM archive releases for the purpose {purpose!r} and "
            f"one query finds: {_numbers(totals.all)}. The archive changes; these are the numbers of one day."
        ),
        "license": "No licence is granted by this manifest: the terms of the archive's operator apply.",
        "url": f"urn:orthanc-provenance:route:{route}",
        "creator": {"@type": "sc:Organization", "name": f"The operator of the research route {route!r}"},
        "datePublished": about["date"],
        "isLiveDataset": True,
        "rai:dataUseCases": [f"Released for the purpose {purpose!r} of the route {route!r}."],
        "rai:dataLimitations": list(_limitations(totals)),
        "rai:dataManipulationProtocol": (
            "Each object that leaves carries a stamp that tells where its pixels come from; its pixels, and "
            "the attributes that were there, are as the archive received them."
        ),
        "provenance": {
            **about,
            "query": dict(query),
            "counts": _counts(totals.all),
            "states": {state: _counts(counts) for state, counts in totals.states.items()},
            "generators": [_generator(one) for one in totals.generators],
            "moreGenerators": totals.more_generators,
            "declare": list(_declare(totals)),
        },
    }


def _limitations(totals: Totals) -> Iterator[str]:
    if totals.generators:
        yield "This gateway holds no declaration, hence no intended uses and limits, of any generator below."
    if totals.more_generators:
        yield f"There are more generators than the {MAX_GENERATORS} that are listed."
    if State.UNDETERMINED in totals.states:
        yield "The origin of some images could not be determined."
    if not totals.all.studies:
        yield "The query finds nothing that may leave."


def _declare(totals: Totals) -> Iterator[str]:
    """What whoever uses the data must say, a sentence each."""
    for state, sentence in _SAYS.items():
        counts = totals.states.get(state.value)
        if counts is not None:
            yield f"{counts.studies} of {totals.all.studies} studies {sentence}."
    for one in totals.generators:
        name = one.name or "a generator that does not give its name"
        made = f"{_numbers(one.counts)} hold images ({one.origin.value}) by {name}"
        yield f"{made}; declaration: {_declared(one)}."


def _generator(one: Generator) -> dict[str, Any]:
    return {
        "name": one.name or None,
        "origin": one.origin.value,
        "declaration": one.declaration or None,
        "declarationStatus": _declared(one),
        "intendedUses": [],
        "limitations": [],
        **_counts(one.counts),
    }


def _declared(one: Generator) -> str:
    return one.declaration or _NO_DECLARATION


def _counts(counts: Counts) -> dict[str, int]:
    return {"studies": counts.studies, "series": counts.series, "instances": counts.instances}


def _numbers(counts: Counts) -> str:
    return f"{counts.studies} studies, {counts.series} series, {counts.instances} instances"


def as_json(content: Mapping[str, Any]) -> bytes:
    """The file `manifest.jsonld`."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")


def as_csv(content: Mapping[str, Any]) -> bytes:
    """The file `manifest.csv`: what `content` says, as rows."""
    told = content["provenance"]
    rows: list[tuple[Any, ...]] = [
        ("about", name, told[name]) for name in ("route", "purpose", "gatewayVersion")
    ]
    rows += [("about", name, told[name]) for name in ("catalogueRevision", "date")]
    rows += [("query", name, value) for name, value in told["query"].items()]
    rows.append(("total", "", "", "", *_amounts(told["counts"])))
    rows += [("state", state, "", "", *_amounts(counts)) for state, counts in told["states"].items()]
    for one in told["generators"]:
        named = (one["name"] or "", one["origin"], one["declarationStatus"])
        rows.append(("generator", *named, *_amounts(one)))
    rows += [("declare", "", sentence) for sentence in told["declare"]]
    rows += [("limitation", "", sentence) for sentence in content["rai:dataLimitations"]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = [_cell(value) for value in row]
        writer.writerow(cells + [""] * (len(COLUMNS) - len(cells)))
    return text.getvalue().encode("utf-8", "replace")


def _amounts(counts: Mapping[str, Any]) -> tuple[Any, ...]:
    return counts["studies"], counts["series"], counts["instances"]


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: names of generators come out of received objects."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def statement(content: Mapping[str, Any]) -> dict[str, Any]:
    """The in-toto Statement about a manifest, to be signed."""
    files = {JSON_LD_NAME: as_json(content), CSV_NAME: as_csv(content)}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": hashlib.sha256(data).hexdigest()}}
            for name, data in files.items()
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": content,
    }
