"""What a run is made of: conditions, clips, the share of a shard and what it costs."""
