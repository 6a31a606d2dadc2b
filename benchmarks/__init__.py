"""What the library costs beside bare Trio, measured in the same run on one core: `python -m benchmarks [NAME ...]`."""
