"""Processes as /proc shows them: who listens on a port, who descends from whom. Blocks; raises OSError nowhere.

Source: proc(5). `root` is where procfs is mounted: the host's, for a container that is to see all processes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
_STAT = re.compile(r"(\d+) \((.*)\) \S (\d+) ", re.DOTALL)  # the name may hold anything, even parentheses
_LOCAL = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")
INITIAL_PID_NAMESPACE = 4026531836  # PROC_PID_INIT_INO of the kernel: the host's own


@dataclass(frozen=True, slots=True)
class Process:
    """One process."""

    pid: int
    parent: int
    name: str


@dataclass(frozen=True, slots=True)
class Listener:
    """Sockets that listen on a port, and the processes that hold them, as far as they can be seen."""

    inodes: frozenset[int]
    uids: frozenset[int]
    pids: frozenset[int]


class Proc:
    """One procfs. Remembers who held the sockets at the last look: to look through all processes is not cheap."""

    def __init__(self, root: str = "/proc") -> None:
        self.root = Path(root)
        self._holders: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())  # inodes and their PIDs

    def process(self, pid: int) -> Process | None:
        """A process by PID; None where this procfs shows none."""
        match = _STAT.match(self._text(pid, "stat"))
        return Process(pid, int(match[3]), match[2]) if match else None

    def ancestry(self, pid: int) -> tuple[int, ...]:
        """A process and its ancestors, nearest first."""
        chain: list[int] = []
        while pid > 0 and pid not in chain:
            process = self.process(pid)
            if process is None:
                break
            chain.append(pid)
            pid = process.parent
        return tuple(chain)

    def listener(self, port: int, address: str) -> Listener:
        """Who listens on `port` of `address`: of this network namespace, or of the one that the address belongs to."""
        sockets: dict[int, int] = {}
        for netns in self._namespaces(address):
            sockets |= self._listening(netns, port)
        inodes = frozenset(sockets)
        return Listener(inodes, frozenset(sockets.values()), self._pids_of(inodes))

    def _pids_of(self, inodes: frozenset[int]) -> frozenset[int]:
        if not inodes:
            return frozenset()
        known_inodes, known = self._holders
        if inodes == known_inodes and known and all(inodes & self._socket_inodes(pid) for pid in known):
            return known
        pids = frozenset(pid for pid in self._pids() if inodes & self._socket_inodes(pid))
        self._holders = (inodes, pids)
        return pids

    def user(self, pid: int) -> int | None:
        """Real user of a process."""
        match = re.search(r"^Uid:\s+(\d+)", self._text(pid, "status"), re.MULTILINE)
        return int(match[1]) if match else None

    def cgroup(self, pid: int) -> str:
        """Control group of a process: the same for all processes of a container."""
        return self._text(pid, "cgroup")

    def in_initial_namespace(self) -> bool:
        """Whether this procfs shows the PIDs that the kernel and its drivers use."""
        try:
            return (self.root / "self/ns/pid").stat().st_ino == INITIAL_PID_NAMESPACE
        except OSError:
            return False

    def holds_gpu(self, pid: int) -> bool:
        """Whether a process has an NVIDIA device file open."""
        return any(target.startswith("/dev/nvidia") for target in self._open_files(pid))

    def _pids(self) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self.root) if name.isdecimal()]  # noqa: PTH208 - thousands of names
        except OSError:
            return []

    def _text(self, pid: int | str, name: str) -> str:
        try:
            return (self.root / str(pid) / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""  # it has ended, or is not ours to read

    def _namespaces(self, address: str) -> Iterator[int | str]:
        """One process of each network namespace in which an address is local."""
        if address in ("localhost", "::1") or address.startswith("127."):
            yield "self"
            return
        if address in _LOCAL.findall(self._text("self", "net/fib_trie")):
            yield "self"
            return
        seen: set[str] = set()
        for pid in self._pids():
            try:
                namespace = str((self.root / str(pid) / "ns/net").readlink())
            except OSError:
                continue
            if namespace in seen:
                continue
            seen.add(namespace)
            if address in _LOCAL.findall(self._text(pid, "net/fib_trie")):
                yield pid

    def _listening(self, pid: int | str, port: int) -> dict[int, int]:
        """User by inode of the sockets that listen on a port."""
        found: dict[int, int] = {}
        for table in ("net/tcp", "net/tcp6"):
            for line in self._text(pid, table).splitlines()[1:]:
                fields = line.split()
                if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found[int(fields[9])] = int(fields[7])
        return found

    def _socket_inodes(self, pid: int) -> set[int]:
        names = (target for target in self._open_files(pid) if target.startswith("socket:["))
        return {int(name[8:-1]) for name in names}

    def _open_files(self, pid: int) -> Iterator[str]:
        folder = f"{self.root}/{pid}/fd"
        try:
            names = os.listdir(folder)  # noqa: PTH208 - thousands of names
        except OSError:
            return
        for name in names:
            try:
                yield os.readlink(f"{folder}/{name}")  # noqa: PTH115 - as above
            except OSError:
                continue
