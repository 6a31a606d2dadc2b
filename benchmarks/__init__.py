"""What the library costs beside bare Trio and bare sqlite3, measured in one run: `python -m benchmarks [NAME ...]`."""
