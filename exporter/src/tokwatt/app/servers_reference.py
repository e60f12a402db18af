"""Writes docs/sources.md: for each inference server what is counted when, how it is switched on, and its traps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tokwatt.sources.tokens.spec import Candidate, Moves, Role, TokenSpec

_INTRO = """\
# Inference servers

*Written by `make docs` from the spec files in `exporter/src/tokwatt/sources/tokens/`; don't edit it by hand.*

tokwatt reads each server's own metrics page, once a tick. Which series mean what is in one spec file for each server;
a server that runs on its usual port is found and recognised by the names on its page. What a page doesn't offer is
absent from tokwatt's metrics, never 0. A series that a spec names and a healthy page doesn't show is listed in
`tokwatt probe` as missing: either the version is older than the spec knows, or newer than it.

**When counters move** decides how short a window may be. *live*: while tokens are made. *prefill end*: a prompt's
tokens at once, when its prefill has ended. *at finish*: all of a request's tokens at once, when it ends; over a window
shorter than a request the rate reads 0 and then a spike. *at arrival*: before the tokens are computed.

**Input** is prompt tokens really computed. A server that counts whole prompts and its cached tokens gives it as the
difference; one that doesn't tell cached tokens apart gives all prompt tokens, and `tokwatt_server_info` says
`input="all"`.

**Work** is what the split of prefill and decode on one server is made from: seconds of each phase where the engine
counts them, else steps, decoded tokens, computed prompt tokens and the context held. A server that counts all tokens
when a request ends, or doesn't tell cached from computed prompt tokens, offers too little. A work series that is absent
is never listed as missing.

**Prefill and decode on different servers**: give each its `role: prefill` or `role: decode`. Then each token is counted
by the side that made it.

**Frontends and proxies** count what the servers behind them count already. Configure one level, best the one beside the
GPUs; a configuration with both is refused, unless the one in front says `separate: true` because its requests go
elsewhere. Where engines are detected, both are read, and `tokwatt probe` and the log tell that tokens count twice;
without a configuration the one in front is left out.

**Nodes that count no tokens**, followers of multi-node tensor parallelism for example: `tokens: none` books their
energy and cost.

**Another server, another name, another version**: `spec:` of a server in the configuration changes any part of a spec,
or describes a server that tokwatt doesn't know (`engine: generic`):

```yaml
servers:
  - name: chat
    url: http://127.0.0.1:8000/metrics
    engine: vllm
    spec:
      rename: {"vllm:": vllm_}           # a relay that writes the names with an underscore
  - name: own
    url: http://127.0.0.1:9000/metrics
    engine: generic
    spec:
      model_label: model
      quantities:
        prompt: my_prompt_tokens_total    # or computed_input, if cached tokens are not in it
        cached_input: my_cached_tokens_total
        output: {metric: my_output_tokens_total, moves: live, sum_over: [dp_rank], max_over: [tp_rank]}
        requests_success: {metric: my_requests_total, where: {outcome: ok}, moves: at_finish}
      work:                               # for the split of prefill and decode
        steps: my_batches_total
        first_tokens: my_time_to_first_token_seconds_count
        kv_tokens: {metric: my_cache_usage_ratio, times: my_cache_info, times_labels: [tokens]}
```
"""

_TITLES: Mapping[str, str] = {
    "computed_input": "input, computed",
    "prompt": "input, whole prompts",
    "cached_input": "input, cached",
    "output": "output",
    "requests_success": "requests that succeeded",
    "requests_error": "requests that failed",
    "requests_abort": "requests aborted",
    "requests_running": "requests running",
    "requests_waiting": "requests waiting",
}
_WORK_TITLES: Mapping[str, str] = {
    "steps": "engine steps",
    "sequence_steps": "sequences in steps",
    "first_tokens": "prefills that ended",
    "draft_tokens": "speculative tokens",
    "preemptions": "preemptions",
    "prefill_seconds": "seconds of prefill",
    "decode_seconds": "seconds of decode",
    "prefill_request_seconds": "seconds of prefill, by request",
    "kv_tokens": "context in the KV cache",
}
_ROLES: Mapping[Role, str] = {
    Role.WORKER: "Worker behind a frontend that counts the same tokens.",
    Role.FRONTEND: "Frontend: its workers count the same tokens.",
    Role.PROXY: "Proxy: the servers behind it count the same tokens.",
}


def render_servers(specs: Mapping[str, TokenSpec]) -> str:
    """Return the page."""
    parts = [_INTRO, _overview(specs)]
    parts += [_section(spec) for spec in specs.values()]
    return "\n".join(parts)


def _overview(specs: Mapping[str, TokenSpec]) -> str:
    head = ["engine", "server", "ports", "path", "output moves", "input moves", "cached input", "split of phases"]
    rows = [[f"[`{spec.engine}`](#{spec.engine})", spec.title, *_summary(spec)] for spec in specs.values()]
    return _table(head, rows)


def _summary(spec: TokenSpec) -> list[str]:
    ports = ", ".join(map(str, spec.default_ports))
    if spec.no_tokens:
        return [ports, "-" if spec.recognise else f"`{spec.path}`", "no tokens", "no tokens", "no", "no"]
    first = {name: found[0] for name, found in spec.quantities.items()}
    given = first.get("computed_input") or first.get("prompt")
    moves = [_moves(found) if found else "-" for found in (first.get("output"), given)]
    return [ports, f"`{spec.path}`", *moves, "yes" if "cached_input" in first else "no", _split(spec)]


def _split(spec: TokenSpec) -> str:
    """Tell what a split of prefill and decode can be made from."""
    ways = ["phase seconds"] if {"prefill_seconds", "decode_seconds"} <= spec.work.keys() else []
    first = {name: found[0] for name, found in spec.quantities.items()}
    given = first.get("computed_input") or ("cached_input" in first and first.get("prompt"))
    in_time = given and given.moves in (Moves.LIVE, Moves.PREFILL_END)
    output = first.get("output")
    live = output is not None and output.moves is Moves.LIVE and "first_tokens" in spec.work
    decoded = live or "sequence_steps" in spec.work
    if in_time and decoded and ("steps" in spec.work or "requests_running" in first):
        ways.append("steps and tokens" if "steps" in spec.work else "tokens and running requests")
    return " or ".join(ways) or "no"


def _moves(candidate: Candidate) -> str:
    return Moves(candidate.moves).value.replace("_", " ")


def _section(spec: TokenSpec) -> str:
    lines = [f"\n## {spec.engine}", "", f"{spec.summary}. Versions: {spec.versions}.", ""]
    if spec.role in _ROLES:
        lines += [_ROLES[spec.role], ""]
    lines += _nothing(spec) if spec.no_tokens else _counted(spec)
    lines += [f"- {trap}" for trap in spec.traps]
    source = f"Source: {spec.provenance['files']}; {spec.provenance['version']}."
    recorded = spec.provenance.get("captures")
    proof = (
        f" Tested on recorded pages of {recorded}."
        if recorded
        else " No recorded page: tested on pages written after it."
    )
    lines += ["", source + ("" if spec.no_tokens else proof)]
    return "\n".join(lines)


def _nothing(spec: TokenSpec) -> Iterator[str]:
    yield f"**No token counters**: {spec.no_tokens}."
    yield f"Instead: {spec.instead}."
    yield ""


def _counted(spec: TokenSpec) -> Iterator[str]:
    yield f"Switched on: {spec.switch_on}."
    yield f"Page: `{spec.path}`, usual ports {', '.join(map(str, spec.default_ports))}. Model: {_model(spec)}."
    yield ""
    yield _table(["quantity", "series", "moves", "labels", "versions"], _rows(_TITLES, spec.quantities))
    absent = [title for name, title in _TITLES.items() if name not in spec.quantities and not _covered(name, spec)]
    if absent:
        yield f"Not offered: {', '.join(absent)}."
        yield ""
    if spec.work:
        yield _table(["work", "series", "moves", "labels", "versions"], _rows(_WORK_TITLES, spec.work))
    yield f"Prefill and decode on different servers: {spec.disaggregated}."
    yield ""


def _rows(titles: Mapping[str, str], offered: Mapping[str, tuple[Candidate, ...]]) -> list[list[str]]:
    return [
        [
            titles[name] if number == 0 else "or else",
            f"`{item.metric}`{_where(item)}{_times(item)}",
            _moves(item),
            _labels(item),
            item.versions,
        ]
        for name, found in offered.items()
        for number, item in enumerate(found)
    ]


def _times(candidate: Candidate) -> str:
    if not candidate.times:
        return ""
    labels = " and ".join(candidate.times_labels)
    return f" times {f'{labels} of ' if labels else ''}`{candidate.times}`"


def _covered(name: str, spec: TokenSpec) -> bool:
    """Tell whether the other way of counting input is there."""
    other = {"computed_input": "prompt", "prompt": "computed_input"}.get(name)
    return other in spec.quantities


def _model(spec: TokenSpec) -> str:
    labels = [f"label `{label}`" for label in spec.model_labels]
    if spec.model_from:
        labels.append(f"`{'.'.join(spec.model_from.keys)}` of `{spec.model_from.path}`")
    return ", else ".join(labels)


def _where(candidate: Candidate) -> str:
    if not candidate.where:
        return ""
    wanted = ", ".join(f"{label} = {' or '.join(sorted(values))}" for label, values in candidate.where)
    return f" with {wanted}"


def _labels(candidate: Candidate) -> str:
    texts = []
    if candidate.sum_over:
        texts.append(f"sum over {', '.join(candidate.sum_over)}")
    if candidate.max_over:
        texts.append(f"largest of {', '.join(candidate.max_over)}")
    return "; ".join(texts)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
