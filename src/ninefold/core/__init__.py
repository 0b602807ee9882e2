"""The words that all rooms share: configurations, batches, records, errors and weights files."""
