"""Files, tables and generators to records; records to batches."""
