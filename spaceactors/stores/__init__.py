"""The durable stores: spaces on one file, or in PostgreSQL."""
