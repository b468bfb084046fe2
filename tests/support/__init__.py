"""What several tests share: processes, brokers, configurations."""
