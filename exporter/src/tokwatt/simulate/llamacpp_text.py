"""The /metrics body of a simulated llama.cpp server: no labels, six significant digits, output counted at the end.

Owns the gauges that each scrape resets. Shape as build b11434 shows it.
"""

from __future__ import annotations

from tokwatt.simulate.engine import Engine

Row = tuple[str, str, str, float]  # name, type, help text, value


class LlamacppText:
    """Renders one engine. Two gauges are means since the previous scrape, whoever scraped."""

    def __init__(self) -> None:
        self._prompt_seen = (0, 0.0)  # tokens, seconds at the previous scrape
        self._predicted_seen = (0, 0.0)

    def render(self, engine: Engine) -> str:
        """Return the text for the present state of an engine; the caller holds its lock."""
        counters = engine.counters
        prompt = (counters.computed_input_tokens, counters.prefill_seconds)
        predicted = (counters.finished_output_tokens, counters.decode_seconds)
        rows: list[Row] = [
            ("prompt_tokens_total", "counter", "Prompt tokens computed, without cached ones", prompt[0]),
            ("prompt_tokens_cached_total", "counter", "Prompt tokens found in the cache", counters.cached_input_tokens),
            ("prompt_seconds_total", "counter", "Time in prompts, summed over slots", prompt[1]),
            ("tokens_predicted_total", "counter", "Tokens generated", predicted[0]),
            ("tokens_predicted_seconds_total", "counter", "Time in generation, summed over slots", predicted[1]),
            ("n_decode_total", "counter", "Calls of llama_decode()", counters.steps),
            ("n_tokens_max", "counter", "Longest sequence so far", counters.longest_sequence_tokens),
            ("spec_decode_num_draft_tokens_total", "counter", "Draft tokens generated", 0),
            ("spec_decode_num_accepted_tokens_total", "counter", "Draft tokens accepted", 0),
            ("spec_decode_num_drafts_total", "counter", "Verification steps", 0),
            ("prompt_tokens_seconds", "gauge", "Mean prompt tokens/s", _rate(self._prompt_seen, prompt)),
            ("predicted_tokens_seconds", "gauge", "Mean generated tokens/s", _rate(self._predicted_seen, predicted)),
            ("requests_processing", "gauge", "Requests in slots", engine.running),
            ("requests_deferred", "gauge", "Requests waiting for a slot", engine.waiting),
            ("n_busy_slots_per_decode", "gauge", "Mean busy slots per call", _busy_slots(engine)),
        ]
        self._prompt_seen, self._predicted_seen = prompt, predicted
        return "".join(_lines(row) for row in rows)


def _rate(before: tuple[int, float], after: tuple[int, float]) -> float:
    seconds = after[1] - before[1]
    return (after[0] - before[0]) / seconds if seconds > 0.0 else 0.0


def _busy_slots(engine: Engine) -> float:
    return engine.counters.sequence_steps / engine.counters.steps if engine.counters.steps else 0.0


def _lines(row: Row) -> str:
    name, kind, help_text, value = row
    # As the C++ stream prints a double: six significant digits, 1.04782e+06 from a million on.
    return f"# HELP llamacpp:{name} {help_text}\n# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value:.6g}\n"
