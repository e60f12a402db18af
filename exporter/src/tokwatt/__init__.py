"""tokwatt: tokens per watt-second and tokens per dollar of AI inference, measured live."""

__version__ = "0.1.0"
