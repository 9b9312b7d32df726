"""Outbox, inbox, relay, consumers and dead letters over Kafka."""
