"""Simulated inference engines whose prefill and decode energy is known: the truth that the phase split is held to.

A step's time and energy follow from its FLOPs, bytes and host work (roofline); Shapley's shares of each step follow
from the same cost function, evaluated for the step with its prompt tokens alone and its decoding sequences alone.
"""
