"""What a request costs: CPU of whole process trees, throughput, latency and memory."""
