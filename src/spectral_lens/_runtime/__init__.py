"""Devices, memory, files and time: what the other rooms stand on and no reader imports."""
