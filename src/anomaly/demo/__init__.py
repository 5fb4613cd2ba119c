"""A small shop under load, a fault in it, and what somebody on call is told: `anomaly demo`."""
