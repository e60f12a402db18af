"""`tokwatt sources`: every token, power and owner source it knows, with what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

from tokwatt.app.build import Workshop
from tokwatt.app.tables import table
from tokwatt.readings import OwnerSourceSpec, PowerSourceSpec
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
                "source": spec.name,
                "summary": spec.summary,
                "needs": spec.needs,
                "boundaries": [boundary.value for boundary in spec.boundaries],
                "detected": spec.detect,
                "method": spec.method,
                "resolution": spec.resolution,
                "declared_error": {what: asdict(precision) for what, precision in spec.precisions},
                "options": _options(spec),
                "traps": list(spec.traps),
            }
            for spec in workshop.power_specs.values()
        ],
        "owners": [
            {
                "source": spec.name,
                "summary": spec.summary,
                "needs": spec.needs,
                "configured": spec.configured,
                "options": _options(spec),
                "traps": list(spec.traps),
            }
            for spec in workshop.owner_specs.values()
        ],
    }


def _options(spec: PowerSourceSpec | OwnerSourceSpec) -> Mapping[str, str]:
    return {option.name: option.metadata.get("help", "") for option in fields(spec.options)}


def _needs(spec: TokenSpec) -> str:
    return f"NO TOKENS: {spec.no_tokens}; {spec.instead}" if spec.no_tokens else spec.switch_on


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
            f"{spec.summary}. Needs {spec.needs}",
        )
        for spec in workshop.power_specs.values()
    ]
    owners = [
        (spec.name, "named" if spec.configured else "chosen", f"{spec.summary}. Needs {spec.needs}")
        for spec in workshop.owner_specs.values()
    ]
    return (
        "Inference servers\n"
        + table(("ENGINE", "ROLE", "PORTS", "PATH", "METRICS ARE SWITCHED ON BY"), tokens)
        + "\n\nMeters\n"
        + table(("SOURCE", "BOUNDARY", "DETECTED", "READS AND NEEDS"), power)
        + "\n\nWhose GPUs (servers[].gpus)\n"
        + table(("SOURCE", "IS", "FINDS AND NEEDS"), owners)
    )
