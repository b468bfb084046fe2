"""Operating a worker: what it tells about itself, when it is healthy, and alerts about Tidewatch itself."""
