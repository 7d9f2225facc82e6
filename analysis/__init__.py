"""From Parquet to the page. Loads neither torch nor Ray."""
