"""`tokwatt sources`: every token, power, owner, price and response source it knows, with what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

from tokwatt.app.build import Workshop
from tokwatt.app.tables import table
from tokwatt.readings import KeyedSourceSpec, OwnerSourceSpec, PowerSourceSpec, SourceSpec
from tokwatt.sources import responses
from tokwatt.sources.tokens.spec import TokenSpec


def as_json(workshop: Workshop) -> Mapping[str, object]:
    """Return all sources as JSON values."""
    return {
        "tokens": [
            {
                "engine": spec.engine,
                "title": spec.title,
                "summary": spec.summary,
                "versions": spec.versions,
                "path": spec.path,
                "ports": list(spec.default_ports),
                "role": spec.role.value,
                "switch_on": spec.switch_on,
                "no_tokens": spec.no_tokens,
                "instead": spec.instead,
                "traps": list(spec.traps),
            }
            for spec in workshop.token_specs.values()
        ],
        "power": [
            {
                **_declared(spec),
                "boundaries": [boundary.value for boundary in spec.boundaries],
                "detected": spec.detect,
                "method": spec.method,
                "resolution": spec.resolution,
                "declared_error": {what: asdict(precision) for what, precision in spec.precisions},
                "options": _options(spec),
            }
            for spec in workshop.power_specs.values()
        ],
        "owners": [
            {
                **_declared(spec),
                "configured": spec.configured,
                "options": _options(spec),
            }
            for spec in workshop.owner_specs.values()
        ],
        "prices": [_keyed(spec) for spec in workshop.price_specs.values()],
        "responses": [_keyed(responses.SPEC)],
    }


def _declared(spec: SourceSpec) -> Mapping[str, object]:
    return {"source": spec.name, "summary": spec.summary, "needs": spec.needs, "traps": list(spec.traps)}


def _keyed(spec: KeyedSourceSpec) -> Mapping[str, object]:
    return {**_declared(spec), "keys": list(spec.keys)}


def _options(spec: PowerSourceSpec | OwnerSourceSpec) -> Mapping[str, str]:
    return {option.name: option.metadata.get("help", "") for option in fields(spec.options)}


def _needs(spec: TokenSpec) -> str:
    return f"NO TOKENS: {spec.no_tokens}; {spec.instead}" if spec.no_tokens else spec.switch_on


def _reads(spec: SourceSpec) -> str:
    return f"{spec.summary}. Needs {spec.needs}"


def as_text(workshop: Workshop) -> str:
    """Lay all sources out for a terminal."""
    tokens = [
        (spec.engine, spec.role.value, ",".join(map(str, spec.default_ports)), spec.path, _needs(spec))
        for spec in workshop.token_specs.values()
    ]
    tokens.append(("generic", "", "", "", "metric names given in `spec:` of the configuration"))
    power = [
        (
            spec.name,
            ",".join(b.value for b in spec.boundaries),
            "yes" if spec.detect else "no",
            _reads(spec),
        )
        for spec in workshop.power_specs.values()
    ]
    owners = [
        (spec.name, "named" if spec.configured else "chosen", _reads(spec)) for spec in workshop.owner_specs.values()
    ]
    keyed = [
        (spec.name, key, _reads(spec) if key == spec.keys[0] else "the same")
        for spec in (*workshop.price_specs.values(), responses.SPEC)
        for key in spec.keys
    ]
    return (
        "Inference servers\n"
        + table(("ENGINE", "ROLE", "PORTS", "PATH", "METRICS ARE SWITCHED ON BY"), tokens)
        + "\n\nMeters\n"
        + table(("SOURCE", "BOUNDARY", "DETECTED", "READS AND NEEDS"), power)
        + "\n\nWhose GPUs (servers[].gpus)\n"
        + table(("SOURCE", "IS", "FINDS AND NEEDS"), owners)
        + "\n\nPrices that change while running, and an application's responses\n"
        + table(("SOURCE", "KEY", "READS AND NEEDS"), keyed)
    )
