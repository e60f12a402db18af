"""A real vLLM server on the CPU with a tiny model of random weights, in an environment of its own, on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import tools
from support.ports import free_port
from support.processes import Child

ROOT = Path(__file__).parents[2]
MODEL = "tiny-llama"
MODEL_FOLDER = ROOT / "tests/.work" / MODEL
MODEL_SCRIPT = Path(__file__).with_name("tiny_llama.py")
CONTEXT_TOKENS = 2048
MAX_RUNNING = 4
START_SECONDS = 150.0  # 25 to 40 where nothing else runs on the two cores
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    # On two cores, a thread of the engine for each of them starves whoever asks for the metrics, for seconds.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


def environment() -> Path:
    """The folder that `make e2e-vllm` installs vLLM into."""
    return ROOT / os.environ.get("VENV_VLLM", ".venv-vllm")


def need_vllm() -> None:
    """Skip the running test, loudly, where vLLM is not installed; fail it in CI."""
    if not (environment() / ".vllm").exists():
        message = f"no vLLM in {environment()}; run: make e2e-vllm"
        if tools.in_ci():
            pytest.fail(message, pytrace=False)
        pytest.skip(message)


def write_model() -> None:
    """Make the model once; `make clean` removes it."""
    if not (MODEL_FOLDER / "model.safetensors").exists():
        argv = [str(environment() / "bin/python"), str(MODEL_SCRIPT), str(MODEL_FOLDER)]
        subprocess.run(argv, check=True, env={**os.environ, **ENVIRONMENT}, timeout=120)


class VllmServer:
    """A server that can be stopped and started again on its port."""

    def __init__(self, work: Path, *options: str) -> None:
        self._work = work
        self._options = options
        self._port = free_port()
        self._child: Child | None = None
        self._starts = 0
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start and wait until it serves."""
        assert self._child is None
        self._starts += 1
        argv = [
            *(str(environment() / "bin/vllm"), "serve", str(MODEL_FOLDER), "--served-model-name", MODEL),
            *("--host", "127.0.0.1", "--port", str(self._port), "--max-model-len", str(CONTEXT_TOKENS)),
            *("--max-num-seqs", str(MAX_RUNNING), "--enforce-eager", "--enable-prefix-caching"),
            "--enable-prompt-tokens-details",
            *self._options,
            *os.environ.get("VLLM_OPTIONS", "").split(),  # make e2e-vllm VLLM_OPTIONS="--api-server-count 2"
        ]
        self._child = Child("vllm", argv, self._work / f"vllm-{self._starts}.log", ENVIRONMENT)
        self._child.wait_for_url(f"{self.url}/health", START_SECONDS)

    def stop(self) -> None:
        """Stop it and whatever it started."""
        if self._child is not None:
            self._child.stop(30.0)
            self._child = None


@contextlib.contextmanager
def running_vllm_server(work: Path, *options: str) -> Iterator[VllmServer]:
    """A started server, gone when the block ends."""
    need_vllm()
    write_model()
    server = VllmServer(work, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
