"""Streaming telemetry anomaly detector: decode, detect, correlate, dispatch, in the order in which data flows."""

__version__ = "0.1.0"
