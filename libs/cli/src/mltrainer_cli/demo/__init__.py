"""The demonstration: a real model of real market data, from a request on Kafka to a bill, on this machine."""
