"""What it cost: records, prices, the journal."""
