"""The bootstrap settings: what an operator can say before the gateway runs. Only `runtime` and `cli` may look in here."""
