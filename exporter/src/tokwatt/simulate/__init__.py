"""Simulated inference servers and meters with known ground truth, for `tokwatt demo` and tests. Not for `tokwatt run`.

`world.World(fleet=None, *, seed, clock, unix_clock, sleep, spare_gpus, host, faults, sensor_gain)`: one simulated host.
`await start()`, `await stop()` or `async with`; `servers` (each `name`, `url`, `engine`, `model`, `gpus`), `gpus`;
`nvml_binding()` stands in for `pynvml`, `bmc_session()` for a session with the BMC `bmc_name`.
Truth between two clock instants of the last ten minutes: `tokens_between(server, t0, t1)`,
`energy_between(server, t0, t1)` (by phase), `gpu_joules_between(uuid, t0, t1)`, `host_joules_between(t0, t1)`.

`real_world.RealWorld()` has the same doors with a real llama.cpp server behind them; needs `tokwatt[real]`.
"""
