"""What a run is measured by: scores, cost, statistics."""
