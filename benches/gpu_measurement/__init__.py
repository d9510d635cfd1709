"""The parts of `benches/gpu.py`."""
